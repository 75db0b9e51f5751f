"""Turns for work that takes long: so much at once among all, and less for each who asks, so that nobody's work holds up
that of all others."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

from tim_server.matrix.errors import Unavailable

TURN_TIMEOUT_S = 60.0


@dataclass(slots=True, kw_only=True)
class FairTurns:
    """So many turns at once, and so many of each key."""

    at_once_max: int
    per_key_max: int = 1
    timeout_s: float = TURN_TIMEOUT_S
    _all: asyncio.Semaphore = field(init=False)
    _of_keys: "WeakValueDictionary[str, asyncio.Semaphore]" = field(default_factory=WeakValueDictionary)

    def __post_init__(self) -> None:
        self._all = asyncio.Semaphore(self.at_once_max)

    @asynccontextmanager
    async def of(self, key: str) -> AsyncIterator[None]:
        """A turn; raises `Unavailable` where none comes in time. Who waits for others of the same key is in nobody
        else's way."""
        of_key = self._of_keys.get(key)
        if of_key is None:
            of_key = self._of_keys[key] = asyncio.Semaphore(self.per_key_max)
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(self.timeout_s):
                    await stack.enter_async_context(of_key)
                    await stack.enter_async_context(self._all)
            except TimeoutError:
                raise Unavailable("Too much of this is being done; try again") from None
            yield
