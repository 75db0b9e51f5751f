"""What children of events add up to, for many parents in one query of each kind. Reads `relations`.

Spec: https://spec.matrix.org/v1.19/client-server-api/#aggregations-of-child-events
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.database import Connection

CANDIDATES_MAX = 10
"""Of so many of the newest edits, or of the newest events of a thread, the reader gets the newest that they may see."""

REFERENCES_MAX = 100
"""How many of the oldest references to an event its aggregation lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentEvent:
    """An event whose children are asked for: those up to the position `until`."""

    event_id: EventId
    room_nid: int
    type: str
    sender: UserId
    until: int


# LIMIT keeps PostgreSQL to one look at the index for each event; asked with EXISTS, it reads the whole table. Few
# events have children at all, so that is looked at first.
FIND_RELATED = """
SELECT p.event_id, t.rel_type
FROM unnest($1::text[]) AS p (event_id)
CROSS JOIN LATERAL (SELECT true FROM relations AS r WHERE r.relates_to_id = p.event_id LIMIT 1) AS has_any
CROSS JOIN unnest($2::text[]) AS t (rel_type)
CROSS JOIN LATERAL (
    SELECT true FROM relations AS r WHERE r.relates_to_id = p.event_id AND r.rel_type = t.rel_type LIMIT 1
) AS has_of_type
"""


async def find_related(
    tx: Connection, event_ids: Collection[EventId], rel_types: Sequence[str]
) -> set[tuple[EventId, str]]:
    """Which of these events have children of which of these types."""
    rows = await tx.fetch(FIND_RELATED, list(event_ids), rel_types)
    return {(EventId(row["event_id"]), row["rel_type"]) for row in rows}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadCount:
    """How many events are in a thread without those of ignored users, and whether the reader sent any."""

    count: int
    has_own: bool


COUNT_THREADS = """
SELECT p.event_id, s.count, s.has_own
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) AS p (event_id, room_nid, until)
CROSS JOIN LATERAL (
    SELECT count(*) FILTER (WHERE NOT r.sender = ANY($4)) AS count, coalesce(bool_or(r.sender = $5), false) AS has_own
    FROM relations AS r
    WHERE r.relates_to_id = p.event_id AND r.rel_type = 'm.thread' AND r.room_nid = p.room_nid AND r.position <= p.until
) AS s
"""


async def count_threads(
    tx: Connection, roots: Sequence[ParentEvent], *, reader: UserId, ignored: Collection[str]
) -> dict[EventId, ThreadCount]:
    """The size of the thread that starts from each of these events."""
    if not roots:
        return {}
    rows = await tx.fetch(
        COUNT_THREADS,
        [root.event_id for root in roots],
        [root.room_nid for root in roots],
        [root.until for root in roots],
        list(ignored),
        reader,
    )
    return {EventId(row["event_id"]): ThreadCount(count=row["count"], has_own=row["has_own"]) for row in rows}


NEWEST_IN_THREADS = """
SELECT p.event_id, c.event_nid
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS p (event_id, room_nid, until, number)
CROSS JOIN LATERAL (
    SELECT r.event_nid, r.position, r.minor FROM relations AS r
    WHERE r.relates_to_id = p.event_id AND r.rel_type = 'm.thread' AND r.room_nid = p.room_nid AND r.position <= p.until
      AND NOT r.sender = ANY($4)
    ORDER BY r.position DESC, r.minor DESC LIMIT $5
) AS c
ORDER BY p.number, c.position DESC, c.minor DESC
"""
REFERENCES_OF = """
SELECT p.event_id, c.event_nid
FROM unnest($1::text[], $2::bigint[], $3::bigint[]) WITH ORDINALITY AS p (event_id, room_nid, until, number)
CROSS JOIN LATERAL (
    SELECT r.event_nid, r.position, r.minor FROM relations AS r
    WHERE r.relates_to_id = p.event_id AND r.rel_type = 'm.reference' AND r.room_nid = p.room_nid
      AND r.position <= p.until AND NOT r.sender = ANY($4)
    ORDER BY r.position, r.minor LIMIT $5
) AS c
ORDER BY p.number, c.position, c.minor
"""


async def newest_in_threads(
    tx: Connection, roots: Sequence[ParentEvent], *, ignored: Collection[str]
) -> dict[EventId, list[int]]:
    """The nids of the newest events of the thread that starts from each of these events, newest first."""
    return await _children(tx, NEWEST_IN_THREADS, roots, ignored, CANDIDATES_MAX)


async def references_of(
    tx: Connection, parents: Sequence[ParentEvent], *, ignored: Collection[str]
) -> dict[EventId, list[int]]:
    """The nids of the oldest events that refer to each of these events, oldest first."""
    return await _children(tx, REFERENCES_OF, parents, ignored, REFERENCES_MAX)


async def _children(
    tx: Connection, sql: str, parents: Sequence[ParentEvent], ignored: Collection[str], limit: int
) -> dict[EventId, list[int]]:
    if not parents:
        return {}
    children: dict[EventId, list[int]] = {}
    for row in await tx.fetch(
        sql,
        [parent.event_id for parent in parents],
        [parent.room_nid for parent in parents],
        [parent.until for parent in parents],
        list(ignored),
        limit,
    ):
        children.setdefault(EventId(row["event_id"]), []).append(row["event_nid"])
    return children


NEWEST_EDITS = """
SELECT p.event_id, c.event_nid
FROM unnest($1::text[], $2::bigint[], $3::text[], $4::text[], $5::bigint[])
     WITH ORDINALITY AS p (event_id, room_nid, type, sender, until, number)
CROSS JOIN LATERAL (
    SELECT r.event_nid, r.origin_server_ts, r.event_id FROM relations AS r
    WHERE r.relates_to_id = p.event_id AND r.rel_type = 'm.replace' AND r.room_nid = p.room_nid
      AND r.type = p.type AND r.sender = p.sender AND r.position <= p.until
    ORDER BY r.origin_server_ts DESC, r.event_id DESC LIMIT $6
) AS c
ORDER BY p.number, c.origin_server_ts DESC, c.event_id DESC
"""


async def newest_edits(tx: Connection, originals: Sequence[ParentEvent]) -> dict[EventId, list[int]]:
    """The nids of the newest replacements of each of these events by its own sender and of its own type; "the most
    recent event is determined by comparing `origin_server_ts`", then the event id.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#server-side-aggregation-of-mreplace-relationships
    """
    if not originals:
        return {}
    edits: dict[EventId, list[int]] = {}
    for row in await tx.fetch(
        NEWEST_EDITS,
        [original.event_id for original in originals],
        [original.room_nid for original in originals],
        [original.type for original in originals],
        [original.sender for original in originals],
        [original.until for original in originals],
        CANDIDATES_MAX,
    ):
        edits.setdefault(EventId(row["event_id"]), []).append(row["event_nid"])
    return edits
