"""Rooms that nobody of this server may enter or be invited to, as an administrator has decided; also rooms that this
server knows nothing else of."""

from dataclasses import dataclass

from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="blocked_rooms",
        owner="services.rooms.deletion",
        bound="one row a room that an administrator has blocked",
        reaper="an administrator, who unblocks it",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomBlock:
    """Who has blocked a room, and when (milliseconds)."""

    blocked_by: UserId
    blocked_ts: int


PUT_BLOCK = """
INSERT INTO blocked_rooms (room_id, blocked_by, blocked_ts) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING
"""


async def put_block(tx: Connection, room_id: RoomId, by: UserId, now: int) -> bool:
    """Block the room; False where it was blocked."""
    status: str = await tx.execute(PUT_BLOCK, room_id, by, now)
    return status.endswith(" 1")


DELETE_BLOCK = "DELETE FROM blocked_rooms WHERE room_id = $1"


async def delete_block(tx: Connection, room_id: RoomId) -> bool:
    """Unblock the room; False where it was not blocked."""
    status: str = await tx.execute(DELETE_BLOCK, room_id)
    return status.endswith(" 1")


FIND_BLOCK = "SELECT blocked_by, blocked_ts FROM blocked_rooms WHERE room_id = $1"


async def find_block(tx: Connection, room_id: RoomId) -> RoomBlock | None:
    """Who has blocked the room; None where nobody has."""
    row = await tx.fetchrow(FIND_BLOCK, room_id)
    return None if row is None else RoomBlock(blocked_by=UserId(row["blocked_by"]), blocked_ts=row["blocked_ts"])


IS_SHUT = """
SELECT EXISTS (SELECT FROM blocked_rooms WHERE room_id = $1)
    OR EXISTS (SELECT FROM room_deletions WHERE room_id = $1 AND finished_ts IS NULL)
"""


async def is_shut(tx: Connection, room_id: RoomId) -> bool:
    """Whether nobody of this server may enter the room, as it is blocked or being deleted."""
    shut: bool = await tx.fetchval(IS_SHUT, room_id)
    return shut
