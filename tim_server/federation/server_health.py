"""Which servers could not be reached lately. All who ask other servers share it, so that one that is down is not asked
again, and waited for, by everybody who would like to know something of it.

It is kept in memory, a process to itself. What must reach a server in any case does not look at it. Pauses stay short:
who sends an encrypted message meanwhile does so without the keys of that server's users.
"""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

FIRST_PAUSE_S, PAUSE_S_MAX = 1.0, 120.0
SERVERS_MAX = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failing:
    failures: int
    until_s: float


@dataclass(slots=True, kw_only=True)
class ServerHealth:
    """Pauses of servers that fail, twice as long after each failure, up to a limit."""

    now_s: Callable[[], float] = monotonic
    _failing: "OrderedDict[str, _Failing]" = field(default_factory=OrderedDict)

    def is_backed_off(self, server_name: str) -> bool:
        """Whether the server has failed just now, and need not be asked yet."""
        failing = self._failing.get(server_name.lower())
        return failing is not None and self.now_s() < failing.until_s

    def failed(self, server_name: str, *, retry_after_ms: int | None = None) -> None:
        """The server could not be reached, or says that it can't serve now, and for how long. Requests that fail while
        it is backed off were made before, and make the pause no longer."""
        key, now_s = server_name.lower(), self.now_s()
        failing = self._failing.get(key) or _Failing(failures=0, until_s=now_s)
        wanted_s = now_s + min((retry_after_ms or 0) / 1000, PAUSE_S_MAX)
        if failing.until_s <= now_s:
            pause_s = min(FIRST_PAUSE_S * 2 ** min(failing.failures, 20), PAUSE_S_MAX)
            failing = _Failing(failures=failing.failures + 1, until_s=now_s + pause_s)
        self._failing[key] = _Failing(failures=failing.failures, until_s=max(failing.until_s, wanted_s))
        self._failing.move_to_end(key)
        if len(self._failing) > SERVERS_MAX:
            self._failing.popitem(last=False)

    def heard_from(self, server_name: str) -> None:
        """The server has answered, or asked for something itself."""
        self._failing.pop(server_name.lower(), None)
