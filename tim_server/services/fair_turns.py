"""Turns for work that takes long: so much at once among all, and less for each who asks, so that nobody's work holds up
that of all others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

from tim_server.matrix.errors import LimitExceeded, Unavailable

TURN_TIMEOUT_S = 60.0
RETRY_AFTER_MS = 5_000


@dataclass(slots=True)
class _Asking:
    """Who asks: for how many turns, and whose turn it is."""

    turns: asyncio.Semaphore
    asked: int = 0


@dataclass(slots=True, kw_only=True)
class OwnTurns:
    """So many turns at once of each key. Those who have one and those who wait are `asked_max` together, of each key;
    None for any number."""

    per_key_max: int
    asked_max: int | None = None
    _asking: dict[str, _Asking] = field(default_factory=dict)

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """A turn, however long it takes to come; raises `LimitExceeded`."""
        asking = self._asking.setdefault(key, _Asking(asyncio.Semaphore(self.per_key_max)))
        if self.asked_max is not None and asking.asked >= self.asked_max:
            raise LimitExceeded(retry_after_ms=RETRY_AFTER_MS)
        asking.asked += 1
        try:
            async with asking.turns:
                yield
        finally:
            asking.asked -= 1
            if not asking.asked:
                del self._asking[key]


@dataclass(slots=True, kw_only=True)
class FairTurns:
    """So many turns at once, and so many of each who asks, and of whatever else is asked about."""

    at_once_max: int
    of_askers: OwnTurns
    of_others: OwnTurns | None = None
    timeout_s: float = TURN_TIMEOUT_S
    _all: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self._all = asyncio.Semaphore(self.at_once_max)

    @asynccontextmanager
    async def of(self, asker: str, other: str = "") -> AsyncIterator[None]:
        """A turn; raises `Unavailable` where none comes in time, and `LimitExceeded`. Who waits for work of their own,
        or of the same other, is in nobody else's way."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.timeout_s):
                    await stack.enter_async_context(self.of_askers.of(asker))
                    if self.of_others is not None:
                        await stack.enter_async_context(self.of_others.of(other))
                    await stack.enter_async_context(self._all)
            except TimeoutError:
                raise Unavailable("Too much of this is being done; try again") from None
            yield
