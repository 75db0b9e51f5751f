"""Nids, the keys of rooms, events and snapshots: taken from a sequence in blocks, so that no two processes share one.

A block is used only when the clock has been settled on the PostgreSQL that gave it: one that was restored from an older
backup would otherwise give nids again which caches know as something else.
"""

from dataclasses import dataclass

from tim_server.storage import clock
from tim_server.storage.clock import NIDS_PER_BLOCK
from tim_server.storage.database import Database
from tim_server.storage.incarnations import Incarnations


@dataclass(slots=True)
class Nids:
    """The block in use."""

    database: Database
    incarnations: Incarnations
    _next: int = 0
    _end: int = 0

    async def take(self, count: int) -> range:
        """`count` fresh nids. Raises `Unavailable`, and ValueError for more than a block."""
        if count > NIDS_PER_BLOCK:
            raise ValueError("too many nids at once")
        while self._next + count > self._end:
            async with self.database.connection() as connection:
                block = await clock.next_nid_block(connection)
                if not self.incarnations.is_settled(block.incarnation):
                    await self.incarnations.settle(connection)
                    continue
            self._next = block.number * NIDS_PER_BLOCK
            self._end = self._next + NIDS_PER_BLOCK
        first = self._next
        self._next += count
        return range(first, first + count)

    def drop(self) -> None:
        """Use nothing more of the block."""
        self._next = self._end = 0
