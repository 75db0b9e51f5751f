"""Remove objects that no medium has: what interrupted uploads left, and files that were removed."""

from collections.abc import Callable
from dataclasses import dataclass

import structlog

from tim_server.media_store.errors import MediaStoreError
from tim_server.media_store.objects import Objects
from tim_server.storage.database import Database
from tim_server.storage.media import doom_leftovers, forget_objects

OBJECTS_PER_STEP = 100
AGAIN_AFTER_MS = 300_000

_log = structlog.get_logger("media")


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftoverReaping:
    """Removes what is due. An object is doomed first, so that nobody makes a medium of it meanwhile, and forgotten
    last, so that a removal that fails is tried again, after all others."""

    database: Database
    objects: Objects
    now_ms: Callable[[], int]

    async def reap(self) -> None:
        """Remove all that is due now, until nothing more can be."""
        while True:
            now = self.now_ms()
            async with self.database.transaction() as tx:
                names = await doom_leftovers(tx, now=now, again_ts=now + AGAIN_AFTER_MS, limit=OBJECTS_PER_STEP)
            removed = [name for name in names if await self._remove(name)]
            async with self.database.transaction() as tx:
                await forget_objects(tx, removed)
            if len(names) < OBJECTS_PER_STEP or not removed:
                return

    async def _remove(self, name: str) -> bool:
        try:
            await self.objects.delete(name)
        except MediaStoreError as error:
            _log.error("a file can't be removed", object=name, error=str(error))
            return False
        return True
