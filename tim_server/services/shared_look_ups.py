"""Looks at the database that many answers share: what was loaded holds until a commit changes it, and whoever asks
while it is being loaded waits for the same load.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from tim_server.storage.database import Connection, Database

K = TypeVar("K")
V = TypeVar("V")


@dataclass(slots=True, kw_only=True)
class SharedLookUps(Generic[K, V]):
    """Values by key; `read` must give one for every key that it is asked for. Least recently loaded dropped first.

    Whoever follows the commit log drops the keys that a commit changes, before anybody learns of the commit: what is
    remembered after that was read after it.
    """

    database: Database
    read: Callable[[Connection, Collection[K]], Awaitable[Mapping[K, V]]]
    keys_max: int = 10_000
    _loads: "OrderedDict[K, asyncio.Task[Mapping[K, V]]]" = field(default_factory=OrderedDict)

    async def load(self, keys: Collection[K]) -> dict[K, V]:
        """The values as they are now, or were after the last change."""
        missing = [key for key in keys if key not in self._loads]
        if missing:
            task = asyncio.create_task(self._load(missing), name="shared-look-up")
            task.add_done_callback(self._drop_failed)
            for key in missing:
                self._loads[key] = task
        loads = {key: self._loads[key] for key in keys}
        while len(self._loads) > self.keys_max:
            self._loads.popitem(last=False)
        return {key: (await asyncio.shield(task))[key] for key, task in loads.items()}

    def drop(self, keys: Iterable[K]) -> None:
        """These have changed."""
        for key in keys:
            self._loads.pop(key, None)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._loads.clear()

    async def _load(self, keys: Collection[K]) -> Mapping[K, V]:
        async with self.database.connection() as connection:
            return await self.read(connection, keys)

    def _drop_failed(self, task: "asyncio.Task[Mapping[K, V]]") -> None:
        if task.cancelled() or task.exception() is not None:
            self.drop([key for key, of_key in self._loads.items() if of_key is task])
