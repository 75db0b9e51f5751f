"""Work that many ask for at once: whoever asks for the same waits for the same, which goes on when they leave. Refusals
are remembered for a while, so that what can't be had costs little.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tim_server.matrix.errors import LimitExceeded, MatrixError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

RETRY_AFTER_MS = 5_000


@dataclass(slots=True, kw_only=True)
class SharedWork(Generic[K, V]):
    """Work by key. `refusals` are the errors that are remembered, for `refusal_lifetime_ms`; they concern all keys for
    which `refused_as` gives the same."""

    refusals: tuple[type[MatrixError], ...]
    now_ms: Callable[[], int]
    waiting_max: int
    refusal_lifetime_ms: int = 30_000
    refusals_max: int = 10_000
    refused_as: Callable[[K], Hashable] = lambda key: key
    _tasks: "dict[K, asyncio.Task[V]]" = field(default_factory=dict)
    _refused: OrderedDict[Hashable, tuple[int, MatrixError]] = field(default_factory=OrderedDict)

    async def get(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What `work` gives, or gave those who asked before; raises what it raises, and `LimitExceeded` where too much
        is under way."""
        until, error = self._refused.get(self.refused_as(key), (0, None))
        if error is not None and until > self.now_ms():
            raise type(error)(error.message, **error.extra)
        if key not in self._tasks:
            if len(self._tasks) >= self.waiting_max:
                raise LimitExceeded(retry_after_ms=RETRY_AFTER_MS)
            self._begin(key, work)
        return await asyncio.shield(self._tasks[key])

    async def close(self) -> None:
        """End all work."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> None:
        task = self._tasks[key] = asyncio.create_task(work(), name="shared-work")

        def done(ended: "asyncio.Task[V]") -> None:
            del self._tasks[key]
            if not ended.cancelled() and isinstance(error := ended.exception(), self.refusals):
                self._remember(self.refused_as(key), error)

        task.add_done_callback(done)

    def _remember(self, key: Hashable, error: MatrixError) -> None:
        self._refused[key] = (self.now_ms() + self.refusal_lifetime_ms, error)
        self._refused.move_to_end(key)
        while len(self._refused) > self.refusals_max:
            self._refused.popitem(last=False)
