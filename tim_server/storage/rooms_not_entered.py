"""Rooms without forward extremities: this server was about to join them, or knows of an invite, and was never in them.

What a join that was given up has left is removed here: outliers, and what was set of the state. Owns no table.
"""

from tim_server.storage.database import Connection

EVENTS_AT_ONCE = 2_000

# A commit that is older than all that are kept is more than a day old, and no join takes as long.
LOCK_ABANDONED = """
SELECT nid FROM rooms AS r
WHERE r.forward_extremities = '{}' AND r.head_version < (SELECT coalesce(min(position), 0) FROM commits)
  AND NOT EXISTS (SELECT FROM outside_memberships AS o WHERE o.room_nid = r.nid)
ORDER BY r.head_version LIMIT 1 FOR UPDATE SKIP LOCKED
"""
DELETE_OUTLIERS = """
DELETE FROM events WHERE nid = ANY(ARRAY(SELECT nid FROM events WHERE room_nid = $1 AND position IS NULL LIMIT $2))
"""
DELETE_SNAPSHOTS = "DELETE FROM state_snapshots WHERE room_nid = $1"
DELETE_STATE_LOG = "DELETE FROM room_state_log WHERE room_nid = $1"
DELETE_STATE = "DELETE FROM current_state WHERE room_nid = $1"
DELETE_OPEN = "DELETE FROM open_rooms WHERE room_nid = $1"
DELETE_MEMBERSHIPS = "DELETE FROM memberships WHERE room_nid = $1"
DELETE_HISTORY = "DELETE FROM membership_history WHERE room_nid = $1"
DELETE_ROOM = "DELETE FROM rooms WHERE nid = $1"
DELETE_REST = (
    DELETE_STATE,
    DELETE_OPEN,
    DELETE_MEMBERSHIPS,
    DELETE_HISTORY,
    DELETE_SNAPSHOTS,
    DELETE_STATE_LOG,
    DELETE_ROOM,
)


async def reap_some(tx: Connection) -> bool:
    """Remove some of what is left of a room that nobody has thought of for a day; False where there is none. The room's
    row is locked: whoever wants to join it now waits for a moment, and begins anew."""
    nid = await tx.fetchval(LOCK_ABANDONED)
    if nid is None:
        return False
    deleted = await tx.execute(DELETE_OUTLIERS, nid, EVENTS_AT_ONCE)
    if int(deleted.split()[-1]) < EVENTS_AT_ONCE:
        for statement in DELETE_REST:
            await tx.execute(statement, nid)
    return True
