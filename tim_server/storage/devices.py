"""Devices of local users: what a login makes and a logout removes, together with its tokens.

Not derived from the event log. Spec: https://spec.matrix.org/v1.19/client-server-api/#device-management
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="devices",
        owner="services.accounts",
        bound="accounts × tokens.devices_per_user_max",
        reaper="logout, deactivation, and each login beyond the bound (the device seen longest ago goes)",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device. `last_seen_ts` is exact to about an hour."""

    user_id: UserId
    device_id: str
    display_name: str | None
    created_ts: int
    last_seen_ts: int


DEVICE_NAME = "coalesce(d.sealed_name, '\\x00'::bytea || convert_to(d.display_name, 'UTF8'))"
"""The display name as the codec keeps it; `display_name` is what older releases wrote."""

UPSERT_DEVICE = """
INSERT INTO devices (user_id, device_id, sealed_name, created_ts, last_seen_ts) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (user_id, device_id) DO UPDATE SET last_seen_ts = $4
RETURNING xmax = 0
"""


async def upsert_device(
    tx: Connection, user_id: UserId, device_id: str, *, sealed_name: bytes | None, now: int
) -> bool:
    """Add the device, or mark a known one as seen; the display name of a known device stays. Whether it is new."""
    is_new: bool = await tx.fetchval(UPSERT_DEVICE, user_id, device_id, sealed_name, now)
    return is_new


RENAME_DEVICE = """
UPDATE devices SET sealed_name = $3, display_name = NULL WHERE user_id = $1 AND device_id = $2 RETURNING true
"""


async def rename_device(tx: Connection, user_id: UserId, device_id: str, sealed_name: bytes) -> bool:
    """Set the display name; False where the user has no such device."""
    return await tx.fetchval(RENAME_DEVICE, user_id, device_id, sealed_name) is not None


TOUCH_DEVICE = "UPDATE devices SET last_seen_ts = $3 WHERE user_id = $1 AND device_id = $2"


async def touch_device(tx: Connection, user_id: UserId, device_id: str, *, now: int) -> None:
    """Mark the device as seen."""
    await tx.execute(TOUCH_DEVICE, user_id, device_id, now)


LIST_DEVICES = f"""
SELECT device_id, {DEVICE_NAME} AS name, created_ts, last_seen_ts FROM devices AS d
WHERE user_id = $1 ORDER BY device_id
"""


async def list_devices(tx: Connection, codec: Codec, user_id: UserId) -> list[Device]:
    """The user's devices, by device id."""
    return [_device(row, codec, user_id) for row in await tx.fetch(LIST_DEVICES, user_id)]


FIND_DEVICE = f"""
SELECT device_id, {DEVICE_NAME} AS name, created_ts, last_seen_ts FROM devices AS d
WHERE user_id = $1 AND device_id = $2
"""


async def find_device(tx: Connection, codec: Codec, user_id: UserId, device_id: str) -> Device | None:
    """A device of the user."""
    row = await tx.fetchrow(FIND_DEVICE, user_id, device_id)
    return None if row is None else _device(row, codec, user_id)


def _device(row: asyncpg.Record, codec: Codec, user_id: UserId) -> Device:
    return Device(
        user_id=user_id,
        device_id=row["device_id"],
        display_name=None if row["name"] is None else codec.decode(row["name"]).decode(),
        created_ts=row["created_ts"],
        last_seen_ts=row["last_seen_ts"],
    )


HAS_DEVICE = "SELECT EXISTS (SELECT FROM devices WHERE user_id = $1 AND device_id = $2)"


async def has_device(tx: Connection, user_id: UserId, device_id: str) -> bool:
    """Whether the user has this device."""
    found: bool = await tx.fetchval(HAS_DEVICE, user_id, device_id)
    return found


LIST_DEVICE_IDS = "SELECT device_id FROM devices WHERE user_id = $1 ORDER BY device_id"


async def list_device_ids(tx: Connection, user_id: UserId) -> list[str]:
    """The ids of the user's devices."""
    return [row["device_id"] for row in await tx.fetch(LIST_DEVICE_IDS, user_id)]


LIST_DEVICES_WITH_SESSIONS = """
SELECT device_id FROM devices AS d WHERE user_id = $1
AND NOT EXISTS (SELECT FROM dehydrated_devices AS h WHERE h.user_id = d.user_id AND h.device_id = d.device_id)
"""


async def list_devices_with_sessions(tx: Connection, user_id: UserId) -> list[str]:
    """The ids of the devices that the user is, or was, logged in with: all but the dehydrated one."""
    return [row["device_id"] for row in await tx.fetch(LIST_DEVICES_WITH_SESSIONS, user_id)]


FIND_DEVICES = """
SELECT d.user_id, d.device_id FROM unnest($1::text[], $2::text[]) AS wanted (user_id, device_id)
JOIN devices AS d USING (user_id, device_id)
UNION
SELECT user_id, device_id FROM devices WHERE user_id = ANY($3)
"""


async def find_devices(
    tx: Connection, named: Sequence[tuple[UserId, str]], all_of: Sequence[UserId]
) -> list[tuple[UserId, str]]:
    """Those of the named devices, each a user and an id, that there are, and all devices of some users."""
    rows = await tx.fetch(FIND_DEVICES, [user for user, _ in named], [device for _, device in named], all_of)
    return [(UserId(row["user_id"]), row["device_id"]) for row in rows]


LONGEST_UNSEEN_DEVICES = """
SELECT device_id FROM devices AS d WHERE user_id = $1 AND device_id <> $2
AND NOT EXISTS (SELECT FROM dehydrated_devices AS h WHERE h.user_id = d.user_id AND h.device_id = d.device_id)
ORDER BY last_seen_ts DESC, device_id OFFSET $3
"""


async def devices_beyond(tx: Connection, user_id: UserId, *, kept: str, limit: int) -> list[str]:
    """The devices that must go so that `limit` remain: those seen longest ago, and never `kept` nor
    the dehydrated device."""
    rows = await tx.fetch(LONGEST_UNSEEN_DEVICES, user_id, kept, limit - 1)
    return [row["device_id"] for row in rows]


DELETE_DEVICES = """
WITH gone AS (DELETE FROM device_keys WHERE user_id = $1 AND device_id = ANY($2::text[]))
DELETE FROM devices WHERE user_id = $1 AND device_id = ANY($2::text[]) RETURNING device_id
"""


async def delete_devices(tx: Connection, user_id: UserId, device_ids: Sequence[str]) -> list[str]:
    """Remove devices with their identity keys; the ids of those that there were. What else they have is removed by
    `services.devices.remove`."""
    return [row["device_id"] for row in await tx.fetch(DELETE_DEVICES, user_id, device_ids)]
