"""What `/sync` asks: each question for many rooms at once, so that the number of rooms adds no round trips.

Reads the log and what derives from it; owns no table. Answers name events by `EventMark`, so that rows which are
remembered need not be read again.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EVENT_COLUMNS, EventRow, read_row
from tim_server.storage.memberships import UserRoom
from tim_server.storage.timeline import EventPatterns


class EventMark(NamedTuple):
    """An event, and what may change about it. A tuple, because one sync makes thousands."""

    room_nid: int
    nid: int
    position: int | None
    redacted_by: int | None


LOAD_CHANGED_ROOMS_OF_USER = """
SELECT m.room_nid, r.room_id, r.room_version, m.membership, m.event_nid, m.position, f.user_id IS NOT NULL AS forgotten
FROM memberships AS m JOIN rooms AS r ON r.nid = m.room_nid
LEFT JOIN forgotten_rooms AS f ON f.user_id = m.user_id AND f.room_nid = m.room_nid
WHERE m.user_id = $1
  AND (m.position > $2 OR (m.membership = 'join' AND (r.head_version > $2 OR r.room_id = ANY($3) OR r.nid = ANY($4))))
"""


async def load_changed_rooms_of_user(
    tx: Connection, user_id: UserId, after: int, *, room_ids: Iterable[str], room_nids: Iterable[int]
) -> list[UserRoom]:
    """The rooms of which the user's membership changed after a position; of joined rooms also those in which anything
    happened, and those of these ids and nids."""
    rows = await tx.fetch(LOAD_CHANGED_ROOMS_OF_USER, user_id, after, list(room_ids), list(room_nids))
    return [
        UserRoom(
            room_nid=row["room_nid"],
            room_id=RoomId(row["room_id"]),
            room_version=row["room_version"],
            membership=row["membership"],
            event_nid=row["event_nid"],
            position=row["position"],
            forgotten=row["forgotten"],
        )
        for row in rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineWindow:
    """The part of a room's timeline after one position, up to another."""

    room_nid: int
    after: int
    up_to: int


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowEvents:
    """The newest events of a window, oldest first; `more`: whether there are, or may be, others before them."""

    marks: Sequence[EventMark] = ()
    more: bool = False


LOAD_HOLES = """
SELECT h.room_nid, max(h.position) AS position
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted (room_nid, after, up_to)
JOIN timeline_holes AS h
  ON h.room_nid = wanted.room_nid AND h.position > wanted.after AND h.position <= wanted.up_to
GROUP BY h.room_nid
"""

LOAD_WINDOWS = """
SELECT e.room_nid, e.nid, e.position, e.redacted_by
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted (room_nid, after, up_to)
CROSS JOIN LATERAL (
    SELECT room_nid, nid, position, redacted_by FROM events
    WHERE room_nid = wanted.room_nid AND position > wanted.after AND position <= wanted.up_to AND minor = 0
      AND rejected IS NULL AND NOT soft_failed
    ORDER BY position DESC LIMIT $4
) AS e
"""

LOAD_FILTERED_WINDOWS = """
SELECT wanted.room_nid, e.nid, e.position, e.redacted_by, scan.ended IS NOT NULL AS more
FROM unnest($1::bigint[], $2::bigint[], $3::bigint[]) AS wanted (room_nid, after, up_to)
LEFT JOIN LATERAL (
    SELECT position AS ended FROM events
    WHERE room_nid = wanted.room_nid AND position > wanted.after AND position <= wanted.up_to AND minor = 0
    ORDER BY position DESC OFFSET $5 LIMIT 1
) AS scan ON true
LEFT JOIN LATERAL (
    SELECT nid, position, redacted_by FROM events
    WHERE room_nid = wanted.room_nid AND position > coalesce(scan.ended, wanted.after) AND position <= wanted.up_to
      AND minor = 0 AND rejected IS NULL AND NOT soft_failed
      AND ($6::text[] IS NULL OR type LIKE ANY($6)) AND NOT type LIKE ANY($7)
      AND ($8::text[] IS NULL OR sender = ANY($8)) AND NOT sender = ANY($9)
    ORDER BY position DESC LIMIT $4
) AS e ON true
"""

SCANNED_MAX = 10_000


async def load_windows(
    tx: Connection, windows: Sequence[TimelineWindow], *, limit: int, patterns: EventPatterns | None
) -> dict[int, WindowEvents]:
    """The newest `limit` events of each window by room, never across a hole in what this server knows of the room.

    With patterns, only events that fit them count; at most `SCANNED_MAX` of a room are looked at.
    """
    if not windows:
        return {}
    bounds = (
        [window.room_nid for window in windows],
        [window.after for window in windows],
        [window.up_to for window in windows],
    )
    holes = {row["room_nid"]: row["position"] for row in await tx.fetch(LOAD_HOLES, *bounds)}
    starts = [max(window.after, holes.get(window.room_nid, 0) - 1) for window in windows]
    bounds = (bounds[0], starts, bounds[2])
    more = set(holes)
    if patterns is None:
        marks = [EventMark._make(row) for row in await tx.fetch(LOAD_WINDOWS, *bounds, limit + 1)]
    else:
        rows = await tx.fetch(
            LOAD_FILTERED_WINDOWS,
            *bounds,
            limit + 1,
            SCANNED_MAX,
            patterns.types,
            patterns.not_types,
            patterns.senders,
            patterns.not_senders,
        )
        more.update(row["room_nid"] for row in rows if row["more"])
        marks = [
            EventMark(row["room_nid"], row["nid"], row["position"], row["redacted_by"])
            for row in rows
            if row["nid"] is not None
        ]
    return _windows_of(marks, more, [window.room_nid for window in windows], limit)


def _windows_of(
    marks: Iterable[EventMark], more: set[int], room_nids: Iterable[int], limit: int
) -> dict[int, WindowEvents]:
    by_room: dict[int, list[EventMark]] = {room_nid: [] for room_nid in room_nids}
    for mark in marks:
        by_room[mark.room_nid].append(mark)
    found = {}
    for room_nid, of_room in by_room.items():
        of_room.sort(key=lambda mark: mark.position or 0)
        found[room_nid] = WindowEvents(marks=of_room[-limit:], more=room_nid in more or len(of_room) > limit)
    return found


LOAD_STATE_OF_ROOMS = """
SELECT s.room_nid, e.nid, e.position, e.redacted_by
FROM current_state AS s JOIN events AS e ON e.nid = s.event_nid
WHERE s.room_nid = ANY($1)
"""


async def load_state_of_rooms(tx: Connection, room_nids: Sequence[int]) -> list[EventMark]:
    """The whole resolved state of these rooms."""
    if not room_nids:
        return []
    return [EventMark._make(row) for row in await tx.fetch(LOAD_STATE_OF_ROOMS, room_nids)]


LOAD_STATE_WITHOUT_MEMBERS = """
SELECT s.room_nid, e.nid, e.position, e.redacted_by
FROM unnest($1::bigint[]) AS wanted (room_nid)
CROSS JOIN LATERAL (
    SELECT room_nid, event_nid FROM current_state WHERE room_nid = wanted.room_nid AND type < 'm.room.member'
    UNION ALL
    SELECT room_nid, event_nid FROM current_state WHERE room_nid = wanted.room_nid AND type > 'm.room.member'
) AS s
JOIN events AS e ON e.nid = s.event_nid
"""


async def load_state_without_members(tx: Connection, room_nids: Sequence[int]) -> list[EventMark]:
    """The resolved state of these rooms, without its member events."""
    if not room_nids:
        return []
    return [EventMark._make(row) for row in await tx.fetch(LOAD_STATE_WITHOUT_MEMBERS, room_nids)]


LOAD_STATE_OF_KEYS = """
SELECT e.room_nid, e.nid, e.position, e.redacted_by
FROM unnest($1::bigint[], $2::text[], $3::text[]) AS wanted (room_nid, type, state_key)
JOIN current_state AS s USING (room_nid, type, state_key)
JOIN events AS e ON e.nid = s.event_nid
"""


async def load_state_of_keys(tx: Connection, keys: Iterable[tuple[int, str, str]]) -> list[EventMark]:
    """The resolved state events of these (room nid, type, state key), as far as there are any."""
    wanted = list(keys)
    if not wanted:
        return []
    rooms, types, state_keys = zip(*wanted, strict=True)
    return [EventMark._make(row) for row in await tx.fetch(LOAD_STATE_OF_KEYS, rooms, types, state_keys)]


LOAD_MARKS = "SELECT room_nid, nid, position, redacted_by FROM events WHERE nid = ANY($1)"


async def load_marks(tx: Connection, nids: Iterable[int]) -> list[EventMark]:
    """The marks of these events."""
    wanted = list(nids)
    return [EventMark._make(row) for row in await tx.fetch(LOAD_MARKS, wanted)] if wanted else []


LOAD_MARKS_WITHOUT_MEMBERS = """
SELECT room_nid, nid, position, redacted_by FROM events
WHERE nid = ANY($1) AND (type <> 'm.room.member' OR state_key = ANY($2))
"""


async def load_marks_without_members(tx: Connection, nids: Iterable[int], but: Iterable[str]) -> list[EventMark]:
    """The marks of these state events; of member events only those of the users `but`."""
    rows = await tx.fetch(LOAD_MARKS_WITHOUT_MEMBERS, list(nids), list(but))
    return [EventMark._make(row) for row in rows]


FIND_MEMBERSHIP_CHANGES = """
SELECT wanted.room_nid FROM unnest($1::bigint[]) AS wanted (room_nid)
WHERE EXISTS (
    SELECT FROM membership_history AS h WHERE h.room_nid = wanted.room_nid AND h.position > $2
      AND h.membership IS DISTINCT FROM (
        SELECT membership FROM membership_history
        WHERE user_id = h.user_id AND room_nid = h.room_nid AND position <= $2 ORDER BY position DESC LIMIT 1
      )
)
"""


async def find_membership_changes(tx: Connection, room_nids: Sequence[int], *, after: int) -> set[int]:
    """Those of the rooms in which anybody's membership changed after a position; a new name or picture is none."""
    if not room_nids:
        return set()
    return {row["room_nid"] for row in await tx.fetch(FIND_MEMBERSHIP_CHANGES, room_nids, after)}


COUNT_MEMBERS = """
SELECT room_nid, membership, count(*) AS members FROM memberships
WHERE room_nid = ANY($1) AND membership IN ('join', 'invite') GROUP BY room_nid, membership
"""


async def count_members(tx: Connection, room_nids: Sequence[int]) -> Mapping[tuple[int, str], int]:
    """How many members are joined, and how many invited, by (room nid, membership)."""
    if not room_nids:
        return {}
    rows = await tx.fetch(COUNT_MEMBERS, room_nids)
    return {(row["room_nid"], row["membership"]): row["members"] for row in rows}


LOAD_FIRST_MEMBERS = """
SELECT h.room_nid, h.user_id, h.active
FROM unnest($1::bigint[]) AS wanted (room_nid)
CROSS JOIN LATERAL (
    SELECT room_nid, user_id, membership IN ('join', 'invite') AS active, position FROM memberships
    WHERE room_nid = wanted.room_nid
    ORDER BY membership IN ('join', 'invite') DESC, position LIMIT $2
) AS h
ORDER BY h.room_nid, h.active DESC, h.position
"""


async def load_first_members(
    tx: Connection, room_nids: Sequence[int], *, limit: int
) -> dict[int, list[tuple[UserId, bool]]]:
    """The first members of each room: joined and invited ones, for whom True stands, before those who have left."""
    if not room_nids:
        return {}
    first: dict[int, list[tuple[UserId, bool]]] = {}
    for row in await tx.fetch(LOAD_FIRST_MEMBERS, room_nids, limit):
        first.setdefault(row["room_nid"], []).append((UserId(row["user_id"]), row["active"]))
    return first


LOAD_STRIPPED_STATE = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE nid = ANY($1) AND ((state_key = '' AND type = ANY($2)) OR (type = 'm.room.member' AND state_key = ANY($3)))
"""


async def load_stripped_state(
    tx: Connection, codec: Codec, nids: Iterable[int], *, types: Sequence[str], members: Iterable[str]
) -> list[EventRow]:
    """Of these state events, those of the types (with an empty state key), and the members'."""
    rows = await tx.fetch(LOAD_STRIPPED_STATE, list(nids), types, list(members))
    return [read_row(row, codec) for row in rows]
