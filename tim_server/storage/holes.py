"""Holes in the timelines of rooms: history that this server has not fetched. Not derived.

A hole lies right before the event at its place: what is fetched into it gets the same position and minors below, and
the hole moves before that. `missing` are the newest events in it, which `citing` events name as before them. Where
nothing is missing any more the hole is filled; its row stays, as what was fetched is not part of any timeline that sync
tells, so that those do not cross it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tim_server.matrix.identifiers import EventId
from tim_server.storage.database import Connection
from tim_server.storage.state import bigint_array
from tim_server.storage.table_contract import TableContract
from tim_server.storage.timeline import Place

TABLES = (
    TableContract(
        name="timeline_holes",
        owner="storage.room_commits",
        bound="one row a gap in history, and one an event that was fetched from its midst",
        reaper="room purge",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleRow:
    """A hole right before the event at (position, minor). `failures`: how often in a row it could not be filled;
    `due_ts`: when it may be tried again, in milliseconds since the epoch."""

    room_nid: int
    position: int
    missing: Sequence[EventId]
    citing: Sequence[int]
    minor: int = 0
    failures: int = 0
    due_ts: int = 0

    @property
    def place(self) -> Place:
        """The place of the event before which it lies."""
        return self.position, self.minor

    @property
    def gap(self) -> Place:
        """The gap right before the event, as a bound of a page."""
        return self.position, self.minor - 1


_COLUMNS = "room_nid, position, missing, citing, minor, failures, due_ts"

INSERT_HOLES = """
INSERT INTO timeline_holes (room_nid, position, minor, missing, citing)
SELECT room_nid, position, minor, ARRAY(SELECT json_array_elements_text(missing::json)), citing::bigint[]
FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::text[], $5::text[])
     AS new (room_nid, position, minor, missing, citing)
ON CONFLICT (room_nid, position, minor) DO UPDATE SET missing = excluded.missing, citing = excluded.citing
"""


async def insert_holes(tx: Connection, rows: Sequence[HoleRow]) -> None:
    """Record holes."""
    await tx.execute(
        INSERT_HOLES,
        [row.room_nid for row in rows],
        [row.position for row in rows],
        [row.minor for row in rows],
        [orjson.dumps([str(event_id) for event_id in row.missing]).decode() for row in rows],
        [bigint_array(row.citing) for row in rows],
    )


_BARS = "missing <> '{}' AND (failures < $6 OR due_ts <= extract(epoch FROM clock_timestamp()) * 1000)"

NEWEST_HOLE = f"""
SELECT {_COLUMNS} FROM timeline_holes
WHERE room_nid = $1 AND (position, minor) > ($2, $3) AND (position, minor) <= ($4, $5 + 1)
  AND {_BARS}
ORDER BY position DESC, minor DESC LIMIT 1
"""
OLDEST_HOLE = f"""
SELECT {_COLUMNS} FROM timeline_holes
WHERE room_nid = $1 AND (position, minor) > ($2, $3 + 1) AND (position, minor) <= ($4, $5)
  AND {_BARS}
ORDER BY position, minor LIMIT 1
"""


async def find_newest_hole(
    tx: Connection, room_nid: int, *, after: Place, until: Place, failures_max: int
) -> HoleRow | None:
    """The hole that one meets first going back from the gap `until` to `after`; one that lies at `until` counts, one
    with as many failures only once it may be tried again."""
    return _hole(await tx.fetchrow(NEWEST_HOLE, room_nid, *after, *until, failures_max))


async def find_oldest_hole(
    tx: Connection, room_nid: int, *, after: Place, until: Place, failures_max: int
) -> HoleRow | None:
    """The hole that one meets first going forward from the gap `after` to `until`; one whose end is at `after` does not
    count, one with as many failures only once it may be tried again."""
    return _hole(await tx.fetchrow(OLDEST_HOLE, room_nid, *after, *until, failures_max))


HOLE_OF_TIME = f"""
SELECT {_COLUMNS} FROM timeline_holes AS h
WHERE room_nid = $1 AND missing <> '{{}}' AND (
    SELECT origin_server_ts FROM events
    WHERE room_nid = h.room_nid AND position = h.position AND minor = h.minor
) >= $2
ORDER BY position, minor LIMIT 1
"""


async def find_hole_of_time(tx: Connection, room_nid: int, ts: int) -> HoleRow | None:
    """The oldest hole before whose end an event of this time, in milliseconds since the epoch, may have been sent."""
    return _hole(await tx.fetchrow(HOLE_OF_TIME, room_nid, ts))


MAY_HOLD_TIME = """
SELECT EXISTS (
    SELECT FROM timeline_holes AS h
    WHERE room_nid = $1 AND missing <> '{}' AND (
        SELECT origin_server_ts FROM events
        WHERE room_nid = h.room_nid AND position = h.position AND minor = h.minor
    ) >= $2 AND coalesce((
        SELECT origin_server_ts FROM events
        WHERE room_nid = h.room_nid AND position IS NOT NULL AND (position, minor) < (h.position, h.minor)
        ORDER BY position DESC, minor DESC LIMIT 1
    ), $3) <= $3
)
"""


async def may_hold_time(tx: Connection, room_nid: int, *, first_ts: int, last_ts: int) -> bool:
    """Whether an event that was sent between these times, in milliseconds since the epoch, may be missing in a hole, by
    what the events on both sides of it say."""
    found: bool = await tx.fetchval(MAY_HOLD_TIME, room_nid, first_ts, last_ts)
    return found


MINOR_BELOW = "SELECT max(minor) FROM events WHERE room_nid = $1 AND position = $2 AND minor < $3"


async def find_minor_below(tx: Connection, hole: HoleRow) -> int | None:
    """Where the hole ends at its own position, as an event has been fetched from its midst; None where it does not."""
    minor: int | None = await tx.fetchval(MINOR_BELOW, hole.room_nid, *hole.place)
    return minor


FIND_MISSING = """
SELECT DISTINCT missing.event_id FROM timeline_holes AS h CROSS JOIN LATERAL unnest(h.missing) AS missing (event_id)
WHERE h.room_nid = $1 AND h.missing && $2 AND missing.event_id = ANY($2)
"""


async def find_missing(tx: Connection, room_nid: int, event_ids: Sequence[EventId]) -> frozenset[EventId]:
    """Those of these events that are missing in a hole, so that stored events stand on them already."""
    return frozenset(EventId(row["event_id"]) for row in await tx.fetch(FIND_MISSING, room_nid, list(event_ids)))


CLAIM_HOLE = f"""
UPDATE timeline_holes SET claimed_ts = $5
WHERE room_nid = $1 AND position = $2 AND minor = $3 AND due_ts <= $4 AND claimed_ts <= $4 AND missing <> '{{}}'
RETURNING {_COLUMNS}
"""


async def claim_hole(tx: Connection, hole: HoleRow, *, now_ms: int, until_ms: int) -> HoleRow | None:
    """Have nobody else try to fill the hole before `until_ms`. None where somebody does, where it is not due, or where
    it has been filled or moved."""
    return _hole(await tx.fetchrow(CLAIM_HOLE, hole.room_nid, *hole.place, now_ms, until_ms))


POSTPONE_HOLE = """
UPDATE timeline_holes SET failures = failures + 1, due_ts = $4, claimed_ts = 0
WHERE room_nid = $1 AND position = $2 AND minor = $3
"""


async def postpone_hole(tx: Connection, hole: HoleRow, due_ts: int) -> None:
    """Note that the hole could not be filled."""
    await tx.execute(POSTPONE_HOLE, hole.room_nid, *hole.place, due_ts)


RELEASE_HOLE = "UPDATE timeline_holes SET claimed_ts = 0 WHERE room_nid = $1 AND position = $2 AND minor = $3"


async def release_hole(tx: Connection, hole: HoleRow) -> None:
    """Let others try to fill the hole, which one had claimed."""
    await tx.execute(RELEASE_HOLE, hole.room_nid, *hole.place)


LOAD_HOLE = f"SELECT {_COLUMNS} FROM timeline_holes WHERE room_nid = $1 AND position = $2 AND minor = $3"


async def load_hole(tx: Connection, room_nid: int, place: Place) -> HoleRow | None:
    """The hole right before this place, filled or not."""
    return _hole(await tx.fetchrow(LOAD_HOLE, room_nid, *place))


DELETE_HOLE = "DELETE FROM timeline_holes WHERE room_nid = $1 AND position = $2 AND minor = $3"


async def move_hole(tx: Connection, hole: HoleRow, moved: HoleRow | None) -> None:
    """Put another hole in the place of one, or none."""
    await tx.execute(DELETE_HOLE, hole.room_nid, *hole.place)
    if moved is not None:
        await insert_holes(tx, [moved])


def _hole(row: Any) -> HoleRow | None:
    if row is None:
        return None
    fields = dict(row.items())
    return HoleRow(**{**fields, "missing": tuple(map(EventId, fields["missing"]))})
