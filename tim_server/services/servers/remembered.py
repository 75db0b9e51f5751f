"""Answers of other servers, remembered for a while: whoever asks for the same meanwhile waits for the same answer."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from time import monotonic
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class Remembered(Generic[K, V]):
    """Answers by question, those asked for first dropped first. Errors are not remembered."""

    lifetime_s: float = 60.0
    answers_max: int = 1_000
    now_s: Callable[[], float] = monotonic
    _asked: "OrderedDict[K, tuple[float, asyncio.Task[V]]]" = field(default_factory=OrderedDict)

    async def get(self, key: K, ask: Callable[[], Awaitable[V]], *, is_fresh: bool = False) -> V:
        """The answer that is remembered, or else what `ask` gives, always where a fresh one is wanted; raises what it
        raises."""
        known = self._asked.get(key)
        if known is None or known[0] <= self.now_s() or (is_fresh and known[1].done()):
            known = self._begin(key, ask)
        return await asyncio.shield(known[1])

    def _begin(self, key: K, ask: Callable[[], Awaitable[V]]) -> "tuple[float, asyncio.Task[V]]":
        async def run() -> V:
            return await ask()

        task = asyncio.create_task(run(), name="ask-a-server")
        asked = self._asked[key] = (self.now_s() + self.lifetime_s, task)
        self._asked.move_to_end(key)

        def forget_failed(done: "asyncio.Task[V]") -> None:
            if (done.cancelled() or done.exception() is not None) and self._asked.get(key) is asked:
                del self._asked[key]

        task.add_done_callback(forget_failed)
        while len(self._asked) > self.answers_max:
            self._asked.popitem(last=False)
        return asked
