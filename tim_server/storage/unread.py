"""What users have not read: events after their receipts, counted by notify class, or by the level of a notification
where there is one. Reads what derives from the log, receipts and notifications; owns no table.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import orjson

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection

UserInRoom = tuple[UserId, int]
"""A user, and the nid of a room."""

EVENTS_LOOKED_AT_MAX = 10_000
"""How many of the newest events of a room are looked at: more unread ones are not counted."""
LEVEL_CELLS = 100
"""Cells from here on are levels of notifications; those below are notify classes."""

LOAD_READ_POSITIONS = """
SELECT w.user_id, w.room_nid, r.thread_id, max(r.event_position) AS position
FROM unnest($1::text[], $2::bigint[]) AS w (user_id, room_nid)
JOIN receipts AS r ON r.room_nid = w.room_nid AND r.user_id = w.user_id
WHERE r.receipt_type IN ('m.read', 'm.read.private') GROUP BY 1, 2, 3
"""

LOAD_JOINED_SINCE = """
SELECT w.user_id, w.room_nid, joined.position
FROM unnest($1::text[], $2::bigint[]) AS w (user_id, room_nid)
CROSS JOIN LATERAL (
    SELECT min(h.position) AS position FROM (
        SELECT position, membership, max(position) FILTER (WHERE membership <> 'join') OVER () AS out_at
        FROM membership_history WHERE user_id = w.user_id AND room_nid = w.room_nid
    ) AS h
    WHERE h.membership = 'join' AND h.position > coalesce(h.out_at, -1)
) AS joined
WHERE joined.position IS NOT NULL
"""


async def load_read_positions(tx: Connection, keys: Collection[UserInRoom]) -> dict[UserInRoom, dict[str, int]]:
    """How far the users have read by thread, '' for the whole room: it counts as read up to where they joined it."""
    users, rooms = [user_id for user_id, _ in keys], [room_nid for _, room_nid in keys]
    read: dict[UserInRoom, dict[str, int]] = {key: {} for key in keys}
    for row in await tx.fetch(LOAD_READ_POSITIONS, users, rooms):
        read[(UserId(row["user_id"]), row["room_nid"])][row["thread_id"]] = row["position"]
    for row in await tx.fetch(LOAD_JOINED_SINCE, users, rooms):
        of_room = read[(UserId(row["user_id"]), row["room_nid"])]
        of_room[""] = max(row["position"], of_room.get("", 0))
    return read


class CountedCell(NamedTuple):
    """How many unread events of a thread have the same class or level, and the position of the newest."""

    thread_id: str
    cell: int
    events: int
    newest: int


COUNT_UNREAD = """
WITH wanted AS (
    SELECT user_id, room_nid, read, read_threads::jsonb AS read_threads
    FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::text[]) AS w (user_id, room_nid, read, read_threads)
), looked_at AS (
    SELECT w.user_id, w.room_nid, e.position, e.thread_id, e.notify_class, e.redacted_by, e.sender,
           (w.read_threads ->> e.thread_id)::bigint AS read,
           max(e.position) FILTER (WHERE e.sender = w.user_id AND e.notify_class <> 1)
               OVER (PARTITION BY w.user_id, w.room_nid, e.thread_id) AS sent
    FROM wanted AS w CROSS JOIN LATERAL (
        SELECT position, coalesce(thread_id, 'main') AS thread_id, notify_class, redacted_by, sender FROM events
        WHERE room_nid = w.room_nid AND position > w.read AND position <= $5 AND minor = 0 AND notify_class > 0
        ORDER BY position DESC LIMIT $6
    ) AS e
)
SELECT l.user_id, l.room_nid, l.thread_id, coalesce(100 + n.level, l.notify_class) AS cell,
       count(*) AS events, max(l.position) AS newest
FROM looked_at AS l
LEFT JOIN notifications AS n ON n.user_id = l.user_id AND n.room_nid = l.room_nid AND n.position = l.position
WHERE l.redacted_by IS NULL AND l.sender <> l.user_id
  AND l.position > coalesce(l.read, 0) AND l.position > coalesce(l.sent, 0)
  AND (l.user_id, l.sender) NOT IN (SELECT user_id, sender FROM unnest($7::text[], $8::text[]) AS i (user_id, sender))
GROUP BY 1, 2, 3, 4
"""


async def count_unread(
    tx: Connection,
    read: Mapping[UserInRoom, Mapping[str, int]],
    up_to: int,
    ignored: Iterable[tuple[UserId, str]],
) -> dict[UserInRoom, list[CountedCell]]:
    """What is unread after these positions and up to another, without what ignored users sent: pairs of a user and whom
    they ignore."""
    pairs: Sequence[tuple[UserId, str]] = list(ignored)
    rows = await tx.fetch(
        COUNT_UNREAD,
        [user_id for user_id, _ in read],
        [room_nid for _, room_nid in read],
        [of_room.get("", 0) for of_room in read.values()],
        [orjson.dumps(of_room).decode() for of_room in read.values()],
        up_to,
        EVENTS_LOOKED_AT_MAX,
        [user_id for user_id, _ in pairs],
        [sender for _, sender in pairs],
    )
    counted: dict[UserInRoom, list[CountedCell]] = {key: [] for key in read}
    for row in rows:
        cell = CountedCell(row["thread_id"], row["cell"], row["events"], row["newest"])
        counted[(UserId(row["user_id"]), row["room_nid"])].append(cell)
    return counted


FIND_READ_ROOMS = """
SELECT m.room_nid FROM memberships AS m
WHERE m.user_id = $1 AND m.membership = 'join' AND EXISTS (
    SELECT FROM receipts AS r
    WHERE r.room_nid = m.room_nid AND r.user_id = $1 AND r.position > $2
      AND r.receipt_type IN ('m.read', 'm.read.private')
)
"""


async def find_read_rooms(tx: Connection, user_id: UserId, after: int) -> set[int]:
    """The joined rooms in which the user has set receipts after a position."""
    return {row["room_nid"] for row in await tx.fetch(FIND_READ_ROOMS, user_id, after)}
