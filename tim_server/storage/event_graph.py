"""Walks along the edges of a room's graph: each is one query, whatever it passes.

Reads `events`, which belongs to the log. PostgreSQL makes no more of a recursive query than is fetched of it, so that a
walk that is limited costs what it finds and not what lies behind; what it finds comes level by level. Each event is
looked up by a subquery of its own, since the planner, which guesses that a walk is long, might join the whole table.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tim_server.storage.database import Connection

WALK_BACKWARDS = """
WITH RECURSIVE walk (nid) AS (
    SELECT nid FROM events WHERE event_id = ANY($2) AND room_nid = $1
    UNION
    SELECT unnest((SELECT e.prev_nids FROM events AS e WHERE e.nid = walk.nid)) FROM walk
)
SELECT nid FROM walk LIMIT $3
"""


async def walk_backwards(tx: Connection, room_nid: int, event_ids: Collection[str], *, limit: int) -> list[int]:
    """Nids of these events of the room, and of what precedes them, nearest first: at most `limit`."""
    return [row["nid"] for row in await tx.fetch(WALK_BACKWARDS, room_nid, list(event_ids), limit)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Between:
    """What lies before the `latest` events, with `earliest` and what is less deep than `depth_min` left out."""

    latest: Collection[str]
    earliest: Collection[str]
    depth_min: int = 0


WALK_BETWEEN = """
WITH RECURSIVE known (nid) AS (
    SELECT nid FROM events WHERE event_id = ANY($3)
), walk (nid) AS (
    SELECT prev.nid
    FROM events AS e CROSS JOIN LATERAL unnest(e.prev_nids) AS prev (nid)
    WHERE e.event_id = ANY($2) AND e.room_nid = $1 AND prev.nid NOT IN (SELECT nid FROM known)
      AND (SELECT p.depth FROM events AS p WHERE p.nid = prev.nid) >= $4
    UNION
    SELECT prev.nid
    FROM walk
    CROSS JOIN LATERAL unnest((SELECT e.prev_nids FROM events AS e WHERE e.nid = walk.nid)) AS prev (nid)
    WHERE prev.nid NOT IN (SELECT nid FROM known)
      AND (SELECT p.depth FROM events AS p WHERE p.nid = prev.nid) >= $4
)
SELECT nid FROM walk LIMIT $5
"""


async def walk_between(tx: Connection, room_nid: int, between: Between, *, limit: int) -> list[int]:
    """Nids of the events of the room that lie between, those nearest to the latest first: at most `limit`."""
    rows = await tx.fetch(
        WALK_BETWEEN, room_nid, list(between.latest), list(between.earliest), between.depth_min, limit
    )
    return [row["nid"] for row in rows]


AUTH_CHAIN = """
WITH RECURSIVE chain (nid) AS (
    SELECT unnest(e.auth_nids) FROM events AS e WHERE e.nid = ANY($1)
    UNION
    SELECT unnest((SELECT e.auth_nids FROM events AS e WHERE e.nid = chain.nid)) FROM chain
)
SELECT array_agg(nid ORDER BY nid) FROM chain
"""


async def load_auth_chain(tx: Connection, nids: Collection[int]) -> list[int]:
    """Nids of all that these events' auth chains reach, oldest first as far as this server knows. One array, because it
    may be as long as a large room has members."""
    chain: list[int] | None = await tx.fetchval(AUTH_CHAIN, list(nids))
    return chain or []


UNACCEPTED_MAX = 1_000

LOAD_UNACCEPTED = """
WITH RECURSIVE walk (nid, prev_nids) AS (
    SELECT e.nid, e.prev_nids FROM events AS e
    WHERE e.nid = ANY($1) AND (e.rejected IS NOT NULL OR e.soft_failed)
    UNION
    SELECT prev.nid, prev.prev_nids
    FROM walk CROSS JOIN LATERAL (
        SELECT e.nid, e.prev_nids FROM events AS e
        WHERE e.nid = ANY(walk.prev_nids) AND (e.rejected IS NOT NULL OR e.soft_failed)
    ) AS prev
)
SELECT nid, prev_nids FROM walk LIMIT $2
"""


async def load_unaccepted(tx: Connection, nids: Collection[int]) -> dict[int, Sequence[int]]:
    """Those of these events that are rejected or soft-failed, and those before them that are so too, each with what is
    before it; at most `UNACCEPTED_MAX`."""
    rows = await tx.fetch(LOAD_UNACCEPTED, list(nids), UNACCEPTED_MAX)
    return {row["nid"]: row["prev_nids"] for row in rows}
