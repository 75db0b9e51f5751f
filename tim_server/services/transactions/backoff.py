"""When a server to which sending fails is tried again. Pure.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

from dataclasses import dataclass

from tim_server.egress.errors import ContactRefused, OutgoingError, RemoteUnreachable
from tim_server.federation.errors import RemoteError

FIRST_DELAY_S = 1.0
DELAY_S_MAX = 3_600.0
NOT_ABOUT_CONTENT = frozenset({401, 403, 404, 405, 407, 408, 421, 425, 429})
"""Statuses from 400 to 499 that say nothing of what was sent: the same may be taken another time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """Why a transaction was not delivered. `outcome` is for figures, `text` for people. `retry_after_s`: what the other
    server asks for. `may_have_arrived`: the same transaction must come again, so that nothing is taken in twice.
    `is_final`: it will never be taken as it is."""

    outcome: str
    text: str
    retry_after_s: float = 0.0
    may_have_arrived: bool = True
    is_final: bool = False


def problem_of(error: OutgoingError | RemoteError) -> Problem:
    """What went wrong."""
    if isinstance(error, ContactRefused):
        # It may be trusted again one day, but asking often does not help.
        return Problem(outcome="refused", text=str(error), retry_after_s=DELAY_S_MAX, may_have_arrived=False)
    if isinstance(error, RemoteError):
        is_final = 400 <= error.status < 500 and error.status not in NOT_ABOUT_CONTENT
        outcome = "malformed" if error.status == 200 else f"status_{error.status // 100}xx"
        return Problem(
            outcome=outcome,
            text=f"answers {error.status} {error.errcode}",
            retry_after_s=(error.retry_after_ms or 0) / 1000,
            may_have_arrived=not is_final,
            is_final=is_final,
        )
    return Problem(outcome="unreachable" if isinstance(error, RemoteUnreachable) else "malformed", text=str(error))


def delay_s(failures: int, problem: Problem, chance: float) -> float:
    """How long to wait after so many failures in a row; `chance` (0 to 1) spreads those that failed together."""
    doubled: float = FIRST_DELAY_S * 2 ** min(failures - 1, 20)
    return min(max(doubled * (0.75 + chance / 2), problem.retry_after_s), DELAY_S_MAX)
