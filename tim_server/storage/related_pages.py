"""Pages of what relates to an event, and of the threads of a room. Reads `relations`.

Spec: https://spec.matrix.org/v1.19/client-server-api/#relationships-api
"""

from collections.abc import Collection
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.database import Connection
from tim_server.storage.timeline import Place, TimelineRange

RECURSION_DEPTH = 3
"""How far indirect relations are followed; "servers SHOULD traverse at least 3 levels"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildrenWanted:
    """Which children of an event: of a relation type, of an event type, direct ones only or indirect ones too."""

    parent: EventId
    rel_type: str | None = None
    event_type: str | None = None
    recurse: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundEvent:
    """An event and its place in the timeline."""

    nid: int
    place: Place


_CHILDREN = """
SELECT event_nid, position, minor FROM relations
WHERE room_nid = $1 AND relates_to_id = $2 AND ($3::text IS NULL OR rel_type = $3) AND ($4::text IS NULL OR type = $4)
  AND (position, minor) > ($5, $6) AND (position, minor) <= ($7, $8) AND NOT sender = ANY($9)
"""
CHILDREN_NEWEST_FIRST = f"{_CHILDREN} ORDER BY position DESC, minor DESC LIMIT $10"
CHILDREN_OLDEST_FIRST = f"{_CHILDREN} ORDER BY position, minor LIMIT $10"

_DESCENDANTS = """
WITH RECURSIVE related (event_nid, event_id, sender, position, minor, depth) AS (
    SELECT event_nid, event_id, sender, position, minor, 1 FROM relations
    WHERE room_nid = $1 AND relates_to_id = $2
      AND ($3::text IS NULL OR rel_type = $3) AND ($4::text IS NULL OR type = $4)
    UNION ALL
    SELECT r.event_nid, r.event_id, r.sender, r.position, r.minor, related.depth + 1
    FROM related JOIN relations AS r ON r.relates_to_id = related.event_id
    WHERE r.room_nid = $1 AND related.depth < $10
      AND ($3::text IS NULL OR r.rel_type = $3) AND ($4::text IS NULL OR r.type = $4)
)
SELECT DISTINCT event_nid, position, minor FROM related
WHERE (position, minor) > ($5, $6) AND (position, minor) <= ($7, $8) AND NOT sender = ANY($9)
"""
DESCENDANTS_NEWEST_FIRST = f"{_DESCENDANTS} ORDER BY position DESC, minor DESC LIMIT $11"
DESCENDANTS_OLDEST_FIRST = f"{_DESCENDANTS} ORDER BY position, minor LIMIT $11"


async def load_children(
    tx: Connection, wanted: ChildrenWanted, within: TimelineRange, *, ignored: Collection[str], limit: int
) -> list[FoundEvent]:
    """At most `limit` children in the range, without those of ignored users.

    Filters hold for indirect children and for those between: "events […] whose only relation to the original given
    event is through a non-matching intermediate event, will not be included".
    """
    of_parent = (within.room_nid, wanted.parent, wanted.rel_type, wanted.event_type)
    bounds = (*within.after, *within.until, list(ignored))
    if wanted.recurse:
        sql = DESCENDANTS_NEWEST_FIRST if within.newest_first else DESCENDANTS_OLDEST_FIRST
        rows = await tx.fetch(sql, *of_parent, *bounds, RECURSION_DEPTH, limit)
    else:
        sql = CHILDREN_NEWEST_FIRST if within.newest_first else CHILDREN_OLDEST_FIRST
        rows = await tx.fetch(sql, *of_parent, *bounds, limit)
    return [FoundEvent(nid=row["event_nid"], place=(row["position"], row["minor"])) for row in rows]


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadsWanted:
    """Which threads of a room: those whose newest event up to `newest` is at or before `until`, for a reader; all, or
    those that they `participated` in."""

    room_nid: int
    reader: UserId
    newest: Place
    until: Place
    participated: bool = False


LOAD_THREADS = """
WITH threads AS (
    SELECT relates_to_id AS root_id, max(ARRAY[position, minor]) AS latest, bool_or(sender = $2) AS has_own
    FROM relations
    WHERE room_nid = $1 AND rel_type = 'm.thread' AND (position, minor) <= ($3, $4) AND NOT sender = ANY($5)
    GROUP BY relates_to_id
)
SELECT e.nid, t.latest[1] AS position, t.latest[2] AS minor
FROM threads AS t JOIN events AS e ON e.event_id = t.root_id
WHERE e.room_nid = $1 AND t.latest <= ARRAY[$6::bigint, $7::bigint] AND (NOT $8 OR t.has_own OR e.sender = $2)
  AND NOT EXISTS (SELECT FROM relations AS r WHERE r.event_nid = e.nid)
ORDER BY t.latest DESC LIMIT $9
"""


async def load_threads(
    tx: Connection, wanted: ThreadsWanted, *, ignored: Collection[str], limit: int
) -> list[FoundEvent]:
    """The roots of at most `limit` threads, those with the newest events first, with the place of their newest event
    that is not of an ignored user. What relates to another event itself is no root."""
    rows = await tx.fetch(
        LOAD_THREADS,
        wanted.room_nid,
        wanted.reader,
        *wanted.newest,
        list(ignored),
        *wanted.until,
        wanted.participated,
        limit,
    )
    return [FoundEvent(nid=row["nid"], place=(row["position"], row["minor"])) for row in rows]
