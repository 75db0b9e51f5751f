"""How much all uploads of this server take, as it was a minute ago at most."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from tim_server.storage.database import Database
from tim_server.storage.media import sum_all_uploads

COUNTED_FOR_MS = 60_000


@dataclass(slots=True, kw_only=True)
class UsedSpace:
    """Counts them anew each minute, when somebody asks, and adds what comes through this process meanwhile."""

    database: Database
    now_ms: Callable[[], int]
    counted_bytes: int = 0
    """How many bytes they were when somebody asked, and came since."""
    _counted_ts: int = -COUNTED_FOR_MS
    _counting: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def bytes(self) -> int:
        """How many bytes they are."""
        async with self._counting:
            if self.now_ms() - self._counted_ts >= COUNTED_FOR_MS:
                async with self.database.connection() as connection:
                    self.counted_bytes = await sum_all_uploads(connection)
                self._counted_ts = self.now_ms()
        return self.counted_bytes

    def add(self, size_bytes: int) -> None:
        """An upload of this size was taken."""
        self.counted_bytes += size_bytes
