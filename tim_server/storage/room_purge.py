"""Removal of all that is stored of a room, in steps. Owns no table.

The row in `rooms` goes first, in `former_rooms.part_with`: nobody finds the room any more, and whoever has decided
something on its head can't commit it. What is written late by those who found it before is removed once more at the
end, see `former_rooms.forget_some`.
"""

from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.storage.database import Connection

EVENTS_PER_STEP = 500
ROWS_PER_STEP = 5_000
USERS_PER_STEP = 1_000

PURGE_EVENTS = """
WITH gone AS (
    DELETE FROM events WHERE nid = ANY(ARRAY(
        (SELECT nid FROM events WHERE room_nid = $1 AND position IS NOT NULL ORDER BY position, minor LIMIT $2)
        UNION ALL
        (SELECT nid FROM events WHERE room_nid = $1 AND position IS NULL LIMIT $2)
    )) RETURNING nid, sender, body
), unrelated AS (
    DELETE FROM relations AS r USING gone WHERE r.event_nid = gone.nid
), unsent AS (
    DELETE FROM client_transactions AS t USING gone WHERE t.event_nid = gone.nid
), not_owed AS (
    DELETE FROM federation_outbox AS o USING gone WHERE o.event_nid = gone.nid
)
SELECT sender, body FROM gone
"""


async def purge_events(tx: Connection, room_nid: int) -> list[tuple[UserId, bytes]]:
    """Remove some events, at most twice `EVENTS_PER_STEP`, with what is known of each; their senders and sealed
    bodies."""
    rows = await tx.fetch(PURGE_EVENTS, room_nid, EVENTS_PER_STEP)
    return [(UserId(row["sender"]), row["body"]) for row in rows]


# Each removes at most $2 rows of the room. What serves to find other rows goes after them.
PURGE_CURRENT_STATE = """
DELETE FROM current_state WHERE ctid = ANY(ARRAY(SELECT ctid FROM current_state WHERE room_nid = $1 LIMIT $2))
"""
PURGE_SNAPSHOTS = """
DELETE FROM state_snapshots WHERE nid = ANY(ARRAY(SELECT nid FROM state_snapshots WHERE room_nid = $1 LIMIT $2))
"""
PURGE_STATE_LOG = """
DELETE FROM room_state_log WHERE ctid = ANY(ARRAY(SELECT ctid FROM room_state_log WHERE room_nid = $1 LIMIT $2))
"""
PURGE_RELATIONS = """
DELETE FROM relations WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM relations WHERE room_nid = $1 AND rel_type = 'm.thread' LIMIT $2
))
"""
PURGE_HOLES = """
DELETE FROM timeline_holes WHERE ctid = ANY(ARRAY(SELECT ctid FROM timeline_holes WHERE room_nid = $1 LIMIT $2))
"""
PURGE_RECEIPTS = """
DELETE FROM receipts WHERE ctid = ANY(ARRAY(SELECT ctid FROM receipts WHERE room_nid = $1 LIMIT $2))
"""
PURGE_TYPING = "DELETE FROM typing WHERE ctid = ANY(ARRAY(SELECT ctid FROM typing WHERE room_nid = $1 LIMIT $2))"
PURGE_WAITING_PDUS = """
DELETE FROM waiting_pdus WHERE ctid = ANY(ARRAY(SELECT ctid FROM waiting_pdus WHERE room_nid = $1 LIMIT $2))
"""
PURGE_UNVERIFIED = """
DELETE FROM unverified_servers WHERE ctid = ANY(ARRAY(SELECT ctid FROM unverified_servers WHERE room_nid = $1 LIMIT $2))
"""
PURGE_JOINS = """
DELETE FROM joins_under_way WHERE ctid = ANY(ARRAY(SELECT ctid FROM joins_under_way WHERE room_nid = $1 LIMIT $2))
"""
PURGE_OPEN = "DELETE FROM open_rooms WHERE ctid = ANY(ARRAY(SELECT ctid FROM open_rooms WHERE room_nid = $1 LIMIT $2))"
PURGE_ALIASES = """
DELETE FROM room_aliases WHERE ctid = ANY(ARRAY(SELECT ctid FROM room_aliases WHERE room_nid = $1 LIMIT $2))
"""
PURGE_PUBLISHED = """
DELETE FROM published_rooms WHERE ctid = ANY(ARRAY(SELECT ctid FROM published_rooms WHERE room_nid = $1 LIMIT $2))
"""
PURGE_OUTSIDE = """
DELETE FROM outside_memberships
WHERE ctid = ANY(ARRAY(SELECT ctid FROM outside_memberships WHERE room_nid = $1 LIMIT $2))
"""
PURGE_HISTORY = """
DELETE FROM membership_history WHERE ctid = ANY(ARRAY(SELECT ctid FROM membership_history WHERE room_nid = $1 LIMIT $2))
"""
PURGE_MEMBERSHIPS = """
DELETE FROM memberships WHERE ctid = ANY(ARRAY(SELECT ctid FROM memberships WHERE room_nid = $1 LIMIT $2))
"""
PURGES = (
    PURGE_CURRENT_STATE,
    PURGE_SNAPSHOTS,
    PURGE_STATE_LOG,
    PURGE_RELATIONS,
    PURGE_HOLES,
    PURGE_RECEIPTS,
    PURGE_TYPING,
    PURGE_WAITING_PDUS,
    PURGE_UNVERIFIED,
    PURGE_JOINS,
    PURGE_OPEN,
    PURGE_ALIASES,
    PURGE_PUBLISHED,
    PURGE_OUTSIDE,
    PURGE_HISTORY,
    PURGE_MEMBERSHIPS,
)


async def purge_rows(tx: Connection, room_nid: int) -> bool:
    """Remove some of what is found by the room alone, of each table at most `ROWS_PER_STEP`; whether there may be
    more."""
    more = False
    for statement in PURGES:
        status = await tx.execute(statement, room_nid, ROWS_PER_STEP)
        more = more or int(status.split()[-1]) >= ROWS_PER_STEP
    return more


NEXT_USERS = "SELECT user_id FROM users WHERE user_id > $1 ORDER BY user_id LIMIT $2"
PURGE_ACCOUNT_DATA = "DELETE FROM account_data WHERE user_id = ANY($1) AND room_id = $2"
PURGE_NOTIFICATIONS = "DELETE FROM notifications WHERE user_id = ANY($1) AND room_nid = $2"
PURGE_FORGOTTEN = "DELETE FROM forgotten_rooms WHERE user_id = ANY($1) AND room_nid = $2"


async def purge_of_users(tx: Connection, room_nid: int, room_id: RoomId, *, after: str) -> UserId | None:
    """Remove what the next `USERS_PER_STEP` local users have of the room; the last of them, None where there are no
    more. Anybody may have account data of a room, also who never was in it."""
    users = [row["user_id"] for row in await tx.fetch(NEXT_USERS, after, USERS_PER_STEP)]
    await tx.execute(PURGE_ACCOUNT_DATA, users, room_id)
    await tx.execute(PURGE_NOTIFICATIONS, users, room_nid)
    await tx.execute(PURGE_FORGOTTEN, users, room_nid)
    return UserId(users[-1]) if users else None
