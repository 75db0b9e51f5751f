"""What stays for a while of rooms that are deleted, so that their members learn of it who were not there: the leave
that put them out, as a membership of a room that this server is not in. Owns no table.

The room gets a new row, and so another nid: nothing that anybody remembers by the old one can be taken for it, also
where somebody joins the room anew. Its former members count as having forgotten it.
"""

from collections.abc import Sequence

from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.storage.database import Connection
from tim_server.storage.room_deletions import Deletion
from tim_server.storage.room_purge import purge_events, purge_rows

MEMBERS_TO_LEAVE = """
SELECT user_id FROM memberships
WHERE room_nid = $1 AND server_name = $2 AND membership = ANY('{invite,knock,join}')
ORDER BY membership = 'join', user_id LIMIT $3
"""


async def find_members_to_leave(tx: Connection, room_nid: int, server_name: ServerName, *, limit: int) -> list[UserId]:
    """Users of the server who are joined or invited or knock, the joined ones last."""
    return [UserId(row["user_id"]) for row in await tx.fetch(MEMBERS_TO_LEAVE, room_nid, server_name, limit)]


IS_ANYTHING_OWED = """
SELECT EXISTS (
    SELECT FROM (SELECT DISTINCT server_name FROM memberships WHERE room_nid = $1 AND membership = 'join') AS s
    WHERE EXISTS (SELECT FROM federation_outbox AS o WHERE o.destination = s.server_name AND o.position <= $2)
)
"""


async def is_anything_owed(tx: Connection, room_nid: int, *, up_to: int) -> bool:
    """Whether a server in the room has not been told all yet, up to a position."""
    owed: bool = await tx.fetchval(IS_ANYTHING_OWED, room_nid, up_to)
    return owed


LOCK_ROOM = "SELECT nid, room_version, head_version FROM rooms WHERE nid = $1 FOR UPDATE"
COUNT_FORMER = """
SELECT count(*) FROM memberships WHERE room_nid = $1 AND server_name = $2 AND membership = ANY('{leave,ban}')
"""
DELETE_ROOM = "DELETE FROM rooms WHERE nid = $1"
INSERT_FORMER_ROOM = """
INSERT INTO rooms (nid, room_id, room_version, head_version, forward_extremities, depth, snapshot)
VALUES ($1, $2, $3, $4, '{}', 0, 0)
"""
MOVE_OUTSIDE = """
UPDATE outside_memberships AS o SET room_nid = $2, via = NULL, stripped_state = NULL
FROM memberships AS m
WHERE o.room_nid = $1 AND m.room_nid = $1 AND m.user_id = o.user_id AND m.event_nid = o.event_nid
  AND m.membership = ANY('{leave,ban}')
"""
KEEP_LEAVES = """
INSERT INTO outside_memberships (room_nid, user_id, event_nid, position, membership, room_version, event_id, sender,
                                 origin_server_ts, body)
SELECT $2, m.user_id, ($4::bigint[])[row_number() OVER ()], m.position, m.membership, $5, e.event_id, e.sender,
       e.origin_server_ts, e.body
FROM memberships AS m JOIN events AS e ON e.nid = m.event_nid
WHERE m.room_nid = $1 AND m.server_name = $3 AND m.membership = ANY('{leave,ban}')
ON CONFLICT DO NOTHING
"""
KEEP_MEMBERSHIPS = """
WITH kept AS (
    INSERT INTO memberships (user_id, room_nid, membership, event_nid, position)
    SELECT user_id, room_nid, membership, event_nid, position FROM outside_memberships WHERE room_nid = $1
), history AS (
    INSERT INTO membership_history (user_id, room_nid, membership, event_nid, position)
    SELECT user_id, room_nid, membership, event_nid, position FROM outside_memberships WHERE room_nid = $1
)
INSERT INTO forgotten_rooms (user_id, room_nid, position)
SELECT user_id, room_nid, position FROM outside_memberships WHERE room_nid = $1
"""


async def count_former(tx: Connection, room_nid: int, server_name: ServerName) -> int:
    """How many users of the server were in the room and are not any more."""
    count: int = await tx.fetchval(COUNT_FORMER, room_nid, server_name)
    return count


async def part_with(
    tx: Connection, deletion: Deletion, server_name: ServerName, nid: int, leave_nids: Sequence[int]
) -> bool:
    """Take the room out of `rooms`, and put another with this nid in its place that its former members have left;
    `leave_nids` are as many as they are, at least. False where that was done."""
    row = await tx.fetchrow(LOCK_ROOM, deletion.room_nid)
    if row is None:
        return False
    await tx.execute(DELETE_ROOM, deletion.room_nid)
    await tx.execute(INSERT_FORMER_ROOM, nid, deletion.room_id, row["room_version"], row["head_version"])
    await tx.execute(MOVE_OUTSIDE, deletion.room_nid, nid)
    await tx.execute(KEEP_LEAVES, deletion.room_nid, nid, server_name, leave_nids, row["room_version"])
    await tx.execute(KEEP_MEMBERSHIPS, nid)
    return True


FIND_OLD = """
SELECT nid, room_nid, room_id, position, purges FROM room_deletions WHERE finished_ts < $1 ORDER BY finished_ts LIMIT 1
FOR UPDATE SKIP LOCKED
"""
FORGET_FORMER = """
WITH gone AS (
    DELETE FROM outside_memberships WHERE ctid = ANY(ARRAY(
        SELECT o.ctid FROM outside_memberships AS o JOIN rooms AS r ON r.nid = o.room_nid
        WHERE r.room_id = $1 AND o.position <= $2 LIMIT $3
    )) RETURNING user_id, room_nid, event_nid, position
), history AS (
    DELETE FROM membership_history AS h USING gone AS g
    WHERE h.user_id = g.user_id AND h.room_nid = g.room_nid AND h.position = g.position
), forgotten AS (
    DELETE FROM forgotten_rooms AS f USING gone AS g
    WHERE f.user_id = g.user_id AND f.room_nid = g.room_nid AND f.position = g.position
)
DELETE FROM memberships AS m USING gone AS g
WHERE m.user_id = g.user_id AND m.room_nid = g.room_nid AND m.event_nid = g.event_nid
"""
COUNT_OUTSIDE = """
SELECT EXISTS (
    SELECT FROM outside_memberships AS o JOIN rooms AS r ON r.nid = o.room_nid
    WHERE r.room_id = $1 AND o.position <= $2
)
"""
DELETE_DELETION = "DELETE FROM room_deletions WHERE nid = $1"
MEMBERS_PER_STEP = 2_000


async def forget_some(tx: Connection, *, before_ts: int) -> bool:
    """Remove some of what has been kept of rooms whose deletion ended before a time (milliseconds), and at last the
    deletion itself; False where there is nothing. The row in `rooms` goes with others that nobody thinks of
    (`rooms_not_entered`)."""
    row = await tx.fetchrow(FIND_OLD, before_ts)
    if row is None:
        return False
    if row["purges"] and row["position"] is not None:
        bounds = (RoomId(row["room_id"]), row["position"])
        await tx.execute(FORGET_FORMER, *bounds, MEMBERS_PER_STEP)
        is_written_late = bool(await purge_events(tx, row["room_nid"])) or await purge_rows(tx, row["room_nid"])
        if is_written_late or await tx.fetchval(COUNT_OUTSIDE, *bounds):
            return True
    await tx.execute(DELETE_DELETION, row["nid"])
    return True
