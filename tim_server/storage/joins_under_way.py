"""Rooms of other servers that a local user's join is under way to. Not derived: what arrives of them meanwhile is kept.

A row goes when the room is entered; else it holds until its time is over, as another join may be under way still.
"""

from tim_server.matrix.identifiers import RoomId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="joins_under_way",
        owner="services.rooms.remote.joins_under_way",
        bound="one row a room that is joined through other servers",
        reaper="the join that succeeds; the next one, once its time is over",
    ),
)

PUT_JOIN = """
WITH over AS (DELETE FROM joins_under_way WHERE until_ts < $3 AND room_nid <> $1)
INSERT INTO joins_under_way AS j (room_nid, until_ts) VALUES ($1, $2)
ON CONFLICT (room_nid) DO UPDATE SET until_ts = greatest(j.until_ts, excluded.until_ts)
"""


async def put_join(tx: Connection, room_nid: int, *, until_ts: int, now_ms: int) -> None:
    """Note that a join to the room may be under way until then; milliseconds since the epoch."""
    await tx.execute(PUT_JOIN, room_nid, until_ts, now_ms)


IS_UNDER_WAY = """
SELECT EXISTS (
    SELECT FROM rooms AS r JOIN joins_under_way AS j ON j.room_nid = r.nid WHERE r.room_id = $1 AND j.until_ts >= $2
)
"""


async def is_join_under_way(tx: Connection, room_id: RoomId, now_ms: int) -> bool:
    """Whether a join to the room may be under way."""
    found: bool = await tx.fetchval(IS_UNDER_WAY, room_id, now_ms)
    return found


DELETE_JOIN = "DELETE FROM joins_under_way WHERE room_nid = $1"


async def delete_join(tx: Connection, room_nid: int) -> None:
    """The room has been entered."""
    await tx.execute(DELETE_JOIN, room_nid)
