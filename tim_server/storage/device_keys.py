"""Identity keys of devices, as canonical JSON with the signatures that everybody may see. Those of other servers' users
stand here while they are remembered (`storage.remote_device_lists`).

Not derived from the event log. Spec: https://spec.matrix.org/v1.19/client-server-api/#device-keys
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.devices import DEVICE_NAME
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="device_keys",
        owner="services.keys",
        bound="one row a device, of up to 16 KiB; 1,000 devices of each remembered user of another server",
        reaper="removal of the device; storage.remote_device_lists",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedDeviceKeys:
    """A device's keys, as JSON, and its display name."""

    device_id: str
    keys: bytes
    display_name: str | None


LOAD_KEYS_OF_USERS = f"""
SELECT u.user_id, k.device_id, k.keys, {DEVICE_NAME} AS name
FROM (SELECT user_id FROM users WHERE user_id = ANY($1)
      UNION ALL SELECT user_id FROM remote_device_lists WHERE user_id = ANY($1)) AS u
LEFT JOIN device_keys AS k USING (user_id)
LEFT JOIN devices AS d ON d.user_id = k.user_id AND d.device_id = k.device_id
ORDER BY u.user_id, k.device_id
"""


async def load_keys_of_users(
    tx: Connection, codec: Codec, user_ids: Sequence[UserId]
) -> dict[UserId, list[NamedDeviceKeys]]:
    """All device keys of those of the users that exist here, perhaps none, and of those of other servers that are
    remembered."""
    found: dict[UserId, list[NamedDeviceKeys]] = {}
    for row in await tx.fetch(LOAD_KEYS_OF_USERS, user_ids):
        of_user = found.setdefault(UserId(row["user_id"]), [])
        if row["keys"] is not None:
            name = None if row["name"] is None else codec.decode(row["name"]).decode()
            of_user.append(
                NamedDeviceKeys(device_id=row["device_id"], keys=codec.decode(row["keys"]), display_name=name)
            )
    return found


LOAD_KEYS_OF_USER = "SELECT device_id, keys FROM device_keys WHERE user_id = $1"


async def load_keys_of_user(tx: Connection, codec: Codec, user_id: UserId) -> dict[str, bytes]:
    """The keys of the user's devices, as JSON, by device id."""
    return {row["device_id"]: codec.decode(row["keys"]) for row in await tx.fetch(LOAD_KEYS_OF_USER, user_id)}


LOAD_KEYS_OF_DEVICE = "SELECT keys FROM device_keys WHERE user_id = $1 AND device_id = $2"


async def load_keys_of_device(tx: Connection, codec: Codec, user_id: UserId, device_id: str) -> bytes | None:
    """The keys of one device, as JSON."""
    stored: bytes | None = await tx.fetchval(LOAD_KEYS_OF_DEVICE, user_id, device_id)
    return None if stored is None else codec.decode(stored)


PUT_DEVICE_KEYS = """
INSERT INTO device_keys (user_id, device_id, keys)
SELECT $1, device_id, keys FROM unnest($2::text[], $3::bytea[]) AS new (device_id, keys)
ON CONFLICT (user_id, device_id) DO UPDATE SET keys = excluded.keys
"""


async def put_device_keys(tx: Connection, codec: Codec, user_id: UserId, keys: Mapping[str, bytes]) -> None:
    """Set the keys of some devices of a user, JSON by device id."""
    if keys:
        await tx.execute(PUT_DEVICE_KEYS, user_id, list(keys), [codec.encode(value) for value in keys.values()])
