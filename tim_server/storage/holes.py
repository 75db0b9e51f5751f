"""Holes in the timelines of rooms: history before an event that this server has not fetched. Not derived.

A hole at a position lies right before the event there: what is fetched into it gets that position and minors below 0.
`missing` are the newest events in it, which are named by what comes after it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import EventId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="timeline_holes",
        owner="storage.room_commits",
        bound="one row a gap in history",
        reaper="backfill, room purge",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class HoleRow:
    """A hole right before the event at `position`."""

    room_nid: int
    position: int
    missing: Sequence[EventId]


INSERT_HOLES = """
INSERT INTO timeline_holes (room_nid, position, missing)
SELECT room_nid, position, ARRAY(SELECT json_array_elements_text(missing::json))
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS new (room_nid, position, missing)
ON CONFLICT (room_nid, position) DO UPDATE SET missing = excluded.missing
"""


async def insert_holes(tx: Connection, rows: Sequence[HoleRow]) -> None:
    """Record holes."""
    await tx.execute(
        INSERT_HOLES,
        [row.room_nid for row in rows],
        [row.position for row in rows],
        [orjson.dumps([str(event_id) for event_id in row.missing]).decode() for row in rows],
    )
