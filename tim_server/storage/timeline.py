"""Pages of a room's timeline: the events that clients may be shown, in the order of (position, minor).

Reads `events`, which belongs to the log. A page looks at a bounded number of events, so that a filter for what is rare
does not read a whole history; the place up to which it looked is told.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EVENT_COLUMNS, EventRow, read_row

SCANNED_MAX = 5_000

Place: TypeAlias = tuple[int, int]
"""(position, minor); as a bound of a query, the gap right after the event there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EventPatterns:
    """Which events a page holds. `types` and `not_types` are LIKE patterns; None for `types` or `senders` means all."""

    types: Sequence[str] | None = None
    not_types: Sequence[str] = ()
    senders: Sequence[str] | None = None
    not_senders: Sequence[str] = ()


ALL_EVENTS = EventPatterns()


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelineRange:
    """What lies between two gaps of a room's timeline."""

    room_nid: int
    after: Place
    until: Place
    newest_first: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TimelinePage:
    """Events in the order asked for. `reached`: the place of the last event that was looked at where there may be more
    behind it; None where the whole range was looked at."""

    rows: list[EventRow]
    reached: Place | None


LOAD_NEWEST_FIRST = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5)
  AND rejected IS NULL AND NOT soft_failed
ORDER BY position DESC, minor DESC LIMIT $6
"""
LOAD_OLDEST_FIRST = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5)
  AND rejected IS NULL AND NOT soft_failed
ORDER BY position, minor LIMIT $6
"""

LOAD_FITTING_NEWEST_FIRST = f"""
SELECT {EVENT_COLUMNS} FROM (
    SELECT {EVENT_COLUMNS} FROM events
    WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5)
    ORDER BY position DESC, minor DESC LIMIT $11
) AS scanned
WHERE rejected IS NULL AND NOT soft_failed
  AND ($7::text[] IS NULL OR type LIKE ANY($7)) AND NOT type LIKE ANY($8)
  AND ($9::text[] IS NULL OR sender = ANY($9)) AND NOT sender = ANY($10)
ORDER BY position DESC, minor DESC LIMIT $6
"""
LOAD_FITTING_OLDEST_FIRST = f"""
SELECT {EVENT_COLUMNS} FROM (
    SELECT {EVENT_COLUMNS} FROM events
    WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5)
    ORDER BY position, minor LIMIT $11
) AS scanned
WHERE rejected IS NULL AND NOT soft_failed
  AND ($7::text[] IS NULL OR type LIKE ANY($7)) AND NOT type LIKE ANY($8)
  AND ($9::text[] IS NULL OR sender = ANY($9)) AND NOT sender = ANY($10)
ORDER BY position, minor LIMIT $6
"""

LAST_SCANNED_NEWEST_FIRST = """
SELECT position, minor FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5)
ORDER BY position DESC, minor DESC OFFSET $6 LIMIT 1
"""
LAST_SCANNED_OLDEST_FIRST = """
SELECT position, minor FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5)
ORDER BY position, minor OFFSET $6 LIMIT 1
"""


async def load_page(
    tx: Connection, codec: Codec, within: TimelineRange, *, limit: int, patterns: EventPatterns = ALL_EVENTS
) -> TimelinePage:
    """At most `limit` events of the range that fit the patterns."""
    bounds = (within.room_nid, *within.after, *within.until)
    if patterns == ALL_EVENTS:
        found = await tx.fetch(LOAD_NEWEST_FIRST if within.newest_first else LOAD_OLDEST_FIRST, *bounds, limit + 1)
    else:
        found = await tx.fetch(
            LOAD_FITTING_NEWEST_FIRST if within.newest_first else LOAD_FITTING_OLDEST_FIRST,
            *bounds,
            limit + 1,
            patterns.types,
            patterns.not_types,
            patterns.senders,
            patterns.not_senders,
            SCANNED_MAX,
        )
    rows = [read_row(row, codec) for row in found[:limit]]
    if len(found) > limit:
        last = rows[-1]
        assert last.position is not None
        return TimelinePage(rows=rows, reached=(last.position, last.minor))
    if patterns == ALL_EVENTS:
        return TimelinePage(rows=rows, reached=None)
    end = await tx.fetchrow(
        LAST_SCANNED_NEWEST_FIRST if within.newest_first else LAST_SCANNED_OLDEST_FIRST, *bounds, SCANNED_MAX - 1
    )
    return TimelinePage(rows=rows, reached=None if end is None else (end["position"], end["minor"]))


LOAD_NEWEST_AT = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) <= ($2, $3) AND rejected IS NULL AND NOT soft_failed
ORDER BY position DESC, minor DESC LIMIT 1
"""


async def load_newest_at(tx: Connection, codec: Codec, room_nid: int, place: Place) -> EventRow | None:
    """The event at this place, or else the newest before it; None at the room's start."""
    row = await tx.fetchrow(LOAD_NEWEST_AT, room_nid, *place)
    return None if row is None else read_row(row, codec)


OLDEST_PLACE = """
SELECT position, minor FROM events
WHERE room_nid = $1 AND position IS NOT NULL ORDER BY position, minor LIMIT 1
"""


async def find_oldest_place(tx: Connection, room_nid: int) -> Place | None:
    """The place of the oldest event of the room's timeline."""
    row = await tx.fetchrow(OLDEST_PLACE, room_nid)
    return None if row is None else (row["position"], row["minor"])


NEWEST_PLACE = """
SELECT position, minor FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND (position, minor) <= ($2, $3)
ORDER BY position DESC, minor DESC LIMIT 1
"""


async def find_newest_place(tx: Connection, room_nid: int, until: Place) -> Place | None:
    """The place of the newest event of the room's timeline up to a gap."""
    row = await tx.fetchrow(NEWEST_PLACE, room_nid, *until)
    return None if row is None else (row["position"], row["minor"])


CHANGE_OF_VISIBILITY_BEFORE = """
SELECT position, minor FROM events
WHERE room_nid = $1 AND type = 'm.room.history_visibility' AND state_key = '' AND position IS NOT NULL
  AND (position, minor) < ($2, $3)
ORDER BY position DESC, minor DESC LIMIT 1
"""
CHANGE_OF_VISIBILITY_AFTER = """
SELECT position, minor FROM events
WHERE room_nid = $1 AND type = 'm.room.history_visibility' AND state_key = '' AND position IS NOT NULL
  AND (position, minor) > ($2, $3)
ORDER BY position, minor LIMIT 1
"""


async def find_change_of_visibility(tx: Connection, room_nid: int, place: Place, *, newest_first: bool) -> Place | None:
    """Where the history visibility was set next, going from the event at `place` in a direction."""
    row = await tx.fetchrow(
        CHANGE_OF_VISIBILITY_BEFORE if newest_first else CHANGE_OF_VISIBILITY_AFTER, room_nid, *place
    )
    return None if row is None else (row["position"], row["minor"])


NEAREST_MAX = 100
"""How many of the events that are nearest to a time are looked at."""

NEAREST_BEFORE = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND origin_server_ts <= $2 AND rejected IS NULL AND NOT soft_failed
ORDER BY origin_server_ts DESC, position DESC, minor DESC LIMIT $3
"""
NEAREST_AFTER = f"""
SELECT {EVENT_COLUMNS} FROM events
WHERE room_nid = $1 AND position IS NOT NULL AND origin_server_ts >= $2 AND rejected IS NULL AND NOT soft_failed
ORDER BY origin_server_ts, position, minor LIMIT $3
"""


async def load_nearest(tx: Connection, codec: Codec, room_nid: int, ts: int, *, backwards: bool) -> list[EventRow]:
    """At most `NEAREST_MAX` events that were sent nearest to a time, at it or on one side of it; nearest first."""
    rows = await tx.fetch(NEAREST_BEFORE if backwards else NEAREST_AFTER, room_nid, ts, NEAREST_MAX)
    return [read_row(row, codec) for row in rows]
