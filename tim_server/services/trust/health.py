"""Whether what trust is decided by is as new as it should be, and the alarm where it is not."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import structlog

from tim_server.services.trust.knowledge import SourceStatus, TrustKnowledge

ALARM_INTERVAL_MS = 60 * 60 * 1000
STALE_MS = 24 * 60 * 60 * 1000

_log = structlog.get_logger("trust")


class HealthState(StrEnum):
    """How the directory is."""

    FRESH = "fresh"
    FAILING = "failing"
    """It holds, but the last attempt to fetch it has failed."""
    STALE = "stale"
    """As before, for more than a day: who was removed meanwhile is still talked to."""
    EXPIRED = "expired"
    """It goes on serving past its time."""
    MISSING = "missing"
    """There is none: nobody is talked to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The state, and what an operator must know of it; None where all is well."""

    state: HealthState
    alarm: str | None

    @property
    def needs_somebody(self) -> bool:
        """Whether somebody must act."""
        return self.state in (HealthState.STALE, HealthState.EXPIRED, HealthState.MISSING)


def health_of(knowledge: TrustKnowledge, status: SourceStatus, now_ms: int) -> Health:
    """How the directory is at `now_ms`."""
    copy = knowledge.copy
    if copy is None:
        reason = status.problem or "none was fetched yet"
        return Health(state=HealthState.MISSING, alarm=f"there is no directory, so that nobody is talked to: {reason}")
    from tim_server.trust.signed_directory import freshness  # where there is a copy, certificates are loaded

    age = freshness(copy.directory, datetime.fromtimestamp(now_ms / 1000, UTC))
    if age.is_stale:
        return Health(state=HealthState.EXPIRED, alarm=age.alarm)
    unchecked_ms = now_ms - (status.checked_ts or copy.fetched_ts)
    if status.problem is not None and unchecked_ms > STALE_MS:
        hours = unchecked_ms // 3_600_000
        alarm = f"the directory could not be refreshed for {hours} hours: {status.problem}"
        return Health(state=HealthState.STALE, alarm=alarm)
    if status.problem is not None:
        return Health(state=HealthState.FAILING, alarm=f"the directory can't be refreshed: {status.problem}")
    return Health(state=HealthState.FRESH, alarm=None)


@dataclass(slots=True, kw_only=True)
class HealthWatch:
    """Writes alarms into the log: an error where somebody must act, again each hour, and once when it is over."""

    health: Callable[[], Health]
    now_ms: Callable[[], int]
    _alarm_ts: int | None = None

    async def tick(self) -> None:
        """Look, and say what must be said."""
        health, now_ms = self.health(), self.now_ms()
        if not health.needs_somebody:
            if self._alarm_ts is not None:
                _log.info("directory_alarm_over", state=str(health.state))
            self._alarm_ts = None
        elif self._alarm_ts is None or now_ms - self._alarm_ts >= ALARM_INTERVAL_MS:
            self._alarm_ts = now_ms
            _log.error("directory_alarm", state=str(health.state), reason=health.alarm)
