"""Trust decisions as rows that administrators can query: refusals, and changes of who may talk to this server.

Decisions of the same kind are counted in memory and written together, soon. What a stranger can cause is bounded: of
the kinds that appear within one interval only so many are named, the others are counted as those of other servers.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import UserId
from tim_server.services.trust.choke_points import DECISION_POINTS, MEMBERS_OF_THE_DIRECTORY, ChokePoint
from tim_server.storage.database import Connection, Database
from tim_server.storage.trust_decisions import Decision, count_decisions, trim_decisions
from tim_server.storage.writer import Writer
from tim_server.trust.verdict import Verdict

KINDS_PER_FLUSH_MAX = 200
CHANGES_PER_DIRECTORY_MAX = 1_000
REASON_LENGTH_MAX = 500
OTHER_SERVERS = "(other servers)"
OTHER_REASONS = "refused, beside more kinds of refusals than are named"

_log = structlog.get_logger("trust")

_Kind = tuple[str, str, bool, str]


@dataclass(slots=True, kw_only=True)
class DecisionLog:
    """Collects decisions and writes them down; `refusal_counts` are those of this process by choke point."""

    database: Database
    writer: Writer
    now_ms: Callable[[], int]
    kept_max: int
    refusal_counts: Counter[str] = field(default_factory=Counter)
    _pending: dict[_Kind, Decision] = field(default_factory=dict)
    _is_grown: bool = False

    def refused(self, point: ChokePoint, server_name: str, reason: str) -> None:
        """A contact was refused."""
        self.refusal_counts[point] += 1
        is_new = self._count((point, server_name, False, reason[:REASON_LENGTH_MAX]))
        if is_new:
            _log.info("contact_refused", point=str(point), server=server_name, reason=reason)

    def changed(self, changes: Sequence[tuple[str, Verdict]]) -> None:
        """A new directory lists servers that the one before did not list, or the reverse."""
        for server_name, verdict in changes[:CHANGES_PER_DIRECTORY_MAX]:
            self._add((MEMBERS_OF_THE_DIRECTORY, server_name, verdict.is_allowed, verdict.reason[:REASON_LENGTH_MAX]))

    async def flush(self) -> None:
        """Write down what was collected. Without the database it stays collected."""
        pending, self._pending = self._pending, {}
        if not pending:
            return
        try:
            await self.writer.write(_CountDecisions(decisions=tuple(pending.values())))
            self._is_grown = True
        except Unavailable:
            for kind, decision in pending.items():
                later = self._pending.get(kind)
                self._pending[kind] = decision if later is None else _sum(decision, later)

    async def trim(self) -> None:
        """Remove the oldest, where there are more than are kept. Nothing is asked while nothing is written."""
        if not self._is_grown:
            return
        self._is_grown = False
        async with self.database.transaction() as tx:
            await trim_decisions(tx, DECISION_POINTS, kept_max=self.kept_max)

    def _count(self, kind: _Kind) -> bool:
        """Count one decision; whether it is the first of its kind since the last flush, and is named."""
        if kind in self._pending:
            self._add(kind)
            return False
        if len(self._pending) < KINDS_PER_FLUSH_MAX:
            self._add(kind)
            return True
        point, _, is_allowed, _ = kind
        self._add((point, OTHER_SERVERS, is_allowed, OTHER_REASONS))
        return False

    def _add(self, kind: _Kind) -> None:
        now_ms = self.now_ms()
        known = self._pending.get(kind)
        if known is not None:
            self._pending[kind] = replace(known, last_ts=now_ms, times=known.times + 1)
            return
        point, server_name, is_allowed, reason = kind
        self._pending[kind] = Decision(
            point=point,
            server_name=server_name,
            is_allowed=is_allowed,
            reason=reason,
            first_ts=now_ms,
            last_ts=now_ms,
            times=1,
        )


def _sum(earlier: Decision, later: Decision) -> Decision:
    return replace(earlier, last_ts=later.last_ts, times=earlier.times + later.times)


@dataclass(frozen=True, slots=True, kw_only=True)
class _CountDecisions:
    decisions: tuple[Decision, ...]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await count_decisions(tx, self.decisions)
