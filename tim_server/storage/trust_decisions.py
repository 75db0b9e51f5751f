"""What the trust gate decided: refusals, and changes of who may talk to this server. Not derived.

Decisions of the same kind (the same place, server, verdict and reason) share a row, with the first and the last time
and how often. Names of servers stand in plain: they are what administrators search by.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="trust_decisions",
        owner="services.trust",
        bound="trust.decisions_kept_max rows a choke point",
        reaper="trim_decisions, the oldest first",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Decisions of one kind, which were taken `times` times between `first_ts` and `last_ts` (milliseconds)."""

    point: str
    server_name: str
    is_allowed: bool
    reason: str
    first_ts: int
    last_ts: int
    times: int


COUNT_DECISIONS = """
INSERT INTO trust_decisions AS known (point, server_name, is_allowed, reason, first_ts, last_ts, times)
SELECT * FROM unnest($1::text[], $2::text[], $3::boolean[], $4::text[], $5::bigint[], $6::bigint[], $7::bigint[])
ON CONFLICT (point, server_name, is_allowed, reason) DO UPDATE
   SET first_ts = least(known.first_ts, excluded.first_ts), last_ts = greatest(known.last_ts, excluded.last_ts),
       times = known.times + excluded.times
"""


async def count_decisions(tx: Connection, decisions: Sequence[Decision]) -> None:
    """Add the decisions to those of their kinds; each kind at most once. Locks are taken in one order."""
    ordered = sorted(decisions, key=lambda each: (each.point, each.server_name, each.is_allowed, each.reason))
    await tx.execute(
        COUNT_DECISIONS,
        [each.point for each in ordered],
        [each.server_name for each in ordered],
        [each.is_allowed for each in ordered],
        [each.reason for each in ordered],
        [each.first_ts for each in ordered],
        [each.last_ts for each in ordered],
        [each.times for each in ordered],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionFilter:
    """Which decisions; None: whatever it is. `before` is the time and number of the row before the page."""

    server_name: str | None = None
    point: str | None = None
    is_allowed: bool | None = None
    before: tuple[int, int] | None = None


LIST_DECISIONS = """
SELECT nid, point, server_name, is_allowed, reason, first_ts, last_ts, times
FROM trust_decisions
WHERE ($1::text IS NULL OR server_name = $1) AND ($2::text IS NULL OR point = $2)
  AND ($3::boolean IS NULL OR is_allowed = $3) AND ($4::bigint IS NULL OR (last_ts, nid) < ($4, $5::bigint))
ORDER BY last_ts DESC, nid DESC LIMIT $6
"""


async def list_decisions(tx: Connection, wanted: DecisionFilter, *, limit: int) -> list[tuple[int, Decision]]:
    """Decisions, those taken last first, each with the number of its row."""
    last_ts, nid = wanted.before or (None, None)
    filters = (wanted.server_name, wanted.point, wanted.is_allowed)
    rows = await tx.fetch(LIST_DECISIONS, *filters, last_ts, nid, limit)
    return [(row["nid"], _decision(row)) for row in rows]


TRIM_DECISIONS = """
DELETE FROM trust_decisions WHERE nid IN (
    SELECT old.nid FROM unnest($1::text[]) AS points(point),
    LATERAL (SELECT nid FROM trust_decisions WHERE point = points.point
              ORDER BY last_ts DESC, nid DESC OFFSET $2) AS old
)
"""


async def trim_decisions(tx: Connection, points: Sequence[str], *, kept_max: int) -> None:
    """Remove what was decided longest ago, at each point where there is more than is kept."""
    await tx.execute(TRIM_DECISIONS, list(points), kept_max)


def _decision(row: Any) -> Decision:
    return Decision(
        point=row["point"],
        server_name=row["server_name"],
        is_allowed=row["is_allowed"],
        reason=row["reason"],
        first_ts=row["first_ts"],
        last_ts=row["last_ts"],
        times=row["times"],
    )
