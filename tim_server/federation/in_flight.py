"""Work that several want at once: it is done once, and all of them wait for the same outcome."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class InFlight(Generic[K, V]):
    """What is being done, by what it is about. It goes on also where nobody waits any more."""

    name: str
    _tasks: "dict[K, asyncio.Task[V]]" = field(default_factory=dict)

    def __contains__(self, key: K) -> bool:
        """Whether it is being done."""
        return key in self._tasks

    def begin(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> "asyncio.Task[V]":
        """The task that does it; a new one with `work` unless there is one."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.create_task(work(), name=self.name)
            task.add_done_callback(lambda _: self._tasks.pop(key))
        return task

    async def share(self, key: K, work: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """Its outcome; raises what it raises."""
        return await asyncio.shield(self.begin(key, work))
