"""Devices of local users: what a login makes and a logout removes, together with its tokens.

Not derived from the event log. Spec: https://spec.matrix.org/v1.19/client-server-api/#device-management
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
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


UPSERT_DEVICE = """
INSERT INTO devices (user_id, device_id, display_name, created_ts, last_seen_ts) VALUES ($1, $2, $3, $4, $4)
ON CONFLICT (user_id, device_id) DO UPDATE SET last_seen_ts = $4
"""


async def upsert_device(tx: Connection, user_id: UserId, device_id: str, *, display_name: str | None, now: int) -> None:
    """Add the device, or mark a known one as seen; the display name of a known device stays."""
    await tx.execute(UPSERT_DEVICE, user_id, device_id, display_name, now)


TOUCH_DEVICE = "UPDATE devices SET last_seen_ts = $3 WHERE user_id = $1 AND device_id = $2"


async def touch_device(tx: Connection, user_id: UserId, device_id: str, *, now: int) -> None:
    """Mark the device as seen."""
    await tx.execute(TOUCH_DEVICE, user_id, device_id, now)


LIST_DEVICES = """
SELECT device_id, display_name, created_ts, last_seen_ts FROM devices WHERE user_id = $1 ORDER BY device_id
"""


async def list_devices(tx: Connection, user_id: UserId) -> list[Device]:
    """The user's devices, by device id."""
    return [
        Device(
            user_id=user_id,
            device_id=row["device_id"],
            display_name=row["display_name"],
            created_ts=row["created_ts"],
            last_seen_ts=row["last_seen_ts"],
        )
        for row in await tx.fetch(LIST_DEVICES, user_id)
    ]


LONGEST_UNSEEN_DEVICES = """
SELECT device_id FROM devices WHERE user_id = $1 AND device_id <> $2 ORDER BY last_seen_ts DESC, device_id OFFSET $3
"""


async def devices_beyond(tx: Connection, user_id: UserId, *, kept: str, limit: int) -> list[str]:
    """The devices that must go so that `limit` remain: those seen longest ago, and never `kept`."""
    rows = await tx.fetch(LONGEST_UNSEEN_DEVICES, user_id, kept, limit - 1)
    return [row["device_id"] for row in rows]


DELETE_DEVICES = "DELETE FROM devices WHERE user_id = $1 AND device_id = ANY($2::text[])"


async def delete_devices(tx: Connection, user_id: UserId, device_ids: list[str]) -> None:
    """Remove devices; their tokens are removed by `access_tokens.revoke_devices`."""
    await tx.execute(DELETE_DEVICES, user_id, device_ids)
