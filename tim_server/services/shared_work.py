"""Work that many ask for at once: whoever asks for the same waits for the same, which goes on when they leave. Refusals
are remembered for a while, so that what can't be had costs little.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Hashable
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tim_server.matrix.errors import MatrixError

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class SharedWork(Generic[K, V]):
    """Work by key. `refusals` are the errors that are remembered, for `refusal_lifetime_ms`; they concern all keys for
    which `refused_as` gives the same."""

    refusals: tuple[type[MatrixError], ...]
    now_ms: Callable[[], int]
    refusal_lifetime_ms: int = 30_000
    refusals_max: int = 10_000
    refused_as: Callable[[K], Hashable] = lambda key: key
    _tasks: "dict[K, asyncio.Task[V]]" = field(default_factory=dict)
    _refused: OrderedDict[Hashable, tuple[int, MatrixError]] = field(default_factory=OrderedDict)

    async def get(
        self, key: K, work: Callable[[], Coroutine[Any, Any, V]], *, turn: AbstractAsyncContextManager[None]
    ) -> V:
        """What `work` gives, or what gives the same that is under way; raises what it raises, and what the turn does.

        Who is the first to ask waits for their `turn`, which lasts until the work ends; who waits for it keeps nobody
        else from having the same done in a turn of their own. So what is to be had may be there when `work` begins.
        """
        self._raise_what_is_remembered(key)
        async with AsyncExitStack() as stack:
            if key not in self._tasks:
                await stack.enter_async_context(turn)
                self._raise_what_is_remembered(key)
            if key not in self._tasks:
                self._begin(key, _in_turn(work, stack.pop_all()))
            return await asyncio.shield(self._tasks[key])

    def _raise_what_is_remembered(self, key: K) -> None:
        until, error = self._refused.get(self.refused_as(key), (0, None))
        if error is not None and until > self.now_ms():
            raise type(error)(error.message, **error.extra)

    async def close(self) -> None:
        """End all work."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _begin(self, key: K, work: Coroutine[Any, Any, V]) -> None:
        task = self._tasks[key] = asyncio.create_task(work, name="shared-work")

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


async def _in_turn(work: Callable[[], Coroutine[Any, Any, V]], turn: AsyncExitStack) -> V:
    async with turn:
        return await work()
