"""Rooms: one row each, with the head: forward extremities, depth and the snapshot of the resolved state.

`head_version` is the clock position of the last commit that changed the head. A commit names the version that it was
decided on, and is decided again when the row has another. Positions never repeat, also across restores.

A room that this server has never been in, but of which a local user's invite or knock is known, has no forward
extremities and no state. Its version is what was said with the invite; the commit that joins it sets the true one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (TableContract(name="rooms", owner="storage.room_commits", bound="one row a room", reaper="room purge"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRow:
    """A room and its head. `forward_extremities` are (nid, event id), the newest last. One that `is_closed` is being
    deleted; into one that `is_blocked` nobody of this server may come."""

    nid: int
    room_id: RoomId
    room_version: str
    head_version: int
    forward_extremities: tuple[tuple[int, EventId], ...]
    depth: int
    snapshot: int
    snapshot_depth: int
    is_closed: bool
    is_blocked: bool


LOAD_ROOM = """
SELECT r.nid, r.room_id, r.room_version, r.head_version, r.depth, r.snapshot, s.depth AS snapshot_depth,
       ARRAY(SELECT e.nid FROM events AS e WHERE e.nid = ANY(r.forward_extremities) ORDER BY e.depth, e.nid) AS nids,
       ARRAY(SELECT e.event_id FROM events AS e WHERE e.nid = ANY(r.forward_extremities) ORDER BY e.depth, e.nid)
           AS ids,
       EXISTS(SELECT FROM room_deletions AS d WHERE d.room_id = $1 AND d.finished_ts IS NULL) AS is_closed,
       EXISTS(SELECT FROM blocked_rooms AS b WHERE b.room_id = $1) AS is_blocked
FROM rooms AS r LEFT JOIN state_snapshots AS s ON s.nid = r.snapshot
WHERE r.room_id = $1
"""


async def load_room(tx: Connection, room_id: RoomId) -> RoomRow | None:
    """The room and its head; None where this server does not know the room."""
    row = await tx.fetchrow(LOAD_ROOM, room_id)
    if row is None:
        return None
    return RoomRow(
        nid=row["nid"],
        room_id=RoomId(row["room_id"]),
        room_version=row["room_version"],
        head_version=row["head_version"],
        forward_extremities=tuple(
            (nid, EventId(event_id)) for nid, event_id in zip(row["nids"], row["ids"], strict=True)
        ),
        depth=row["depth"],
        snapshot=row["snapshot"],
        snapshot_depth=row["snapshot_depth"] or 0,
        is_closed=row["is_closed"],
        is_blocked=row["is_blocked"],
    )


LOCK_ROOMS = "SELECT nid, head_version FROM rooms WHERE nid = ANY($1) ORDER BY nid FOR UPDATE"


async def lock_rooms(tx: Connection, nids: Sequence[int]) -> dict[int, int]:
    """Lock the rooms' rows, in sorted order; head version by nid."""
    if not nids:
        return {}
    return {row["nid"]: row["head_version"] for row in await tx.fetch(LOCK_ROOMS, sorted(nids))}


ROOM_IDS = "SELECT nid, room_id, room_version FROM rooms WHERE nid = ANY($1)"


async def load_room_ids(tx: Connection, nids: Sequence[int]) -> dict[int, tuple[RoomId, str]]:
    """Room id and version of each nid."""
    rows = await tx.fetch(ROOM_IDS, list(nids))
    return {row["nid"]: (RoomId(row["room_id"]), row["room_version"]) for row in rows}


HEAD_VERSION = "SELECT head_version FROM rooms WHERE nid = $1"


async def load_head_version(tx: Connection, nid: int) -> int | None:
    """The version of the room's head; None where the room is gone."""
    version: int | None = await tx.fetchval(HEAD_VERSION, nid)
    return version


INSERT_ROOM_WITHOUT_STATE = """
INSERT INTO rooms (nid, room_id, room_version, head_version, forward_extremities, depth, snapshot)
VALUES ($1, $2, $3, $4, '{}', 0, 0) ON CONFLICT (room_id) DO NOTHING
"""


async def insert_room_without_state(
    tx: Connection, *, nid: int, room_id: RoomId, room_version: str, position: int
) -> None:
    """Know a room that this server is not in, and of which it has no state; nothing where it is known already."""
    await tx.execute(INSERT_ROOM_WITHOUT_STATE, nid, room_id, room_version, position)


FIND_ROOM_NID = "SELECT nid FROM rooms WHERE room_id = $1"


async def load_room_nid(tx: Connection, room_id: RoomId) -> int | None:
    """The room's nid; None where this server does not know the room."""
    nid: int | None = await tx.fetchval(FIND_ROOM_NID, room_id)
    return nid
