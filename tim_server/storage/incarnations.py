"""Which PostgreSQL this process has last met, and who is told when it is another.

After a restart, a failover or a restore, the clock jumps (once, whichever process comes first), and each process drops
what it remembers: the tail of the commit log may hold commits that are gone, caches what was read of them.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from tim_server.storage import clock
from tim_server.storage.clock import Incarnation
from tim_server.storage.database import Connection

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Incarnations:
    """`on_restart` is given the newest position that the new incarnation has; then all of `on_restored` are called."""

    on_restart: Callable[[int], None] = lambda position: None
    on_restored: list[Callable[[], None]] = field(default_factory=list)
    _known: Incarnation | None = None

    def is_settled(self, incarnation: Incarnation) -> bool:
        """Whether this process knows that the clock has been settled on it."""
        return incarnation == self._known

    async def settle(self, connection: Connection) -> None:
        """Make the clock run on what this connection leads to, in a transaction of its own."""
        async with connection.transaction():
            await clock.lock_clock(connection)
            incarnation, position = await clock.jump_if_restored(connection)
        known, self._known = self._known, incarnation
        if known in (None, incarnation):
            return
        log.warning("PostgreSQL was restarted or restored; what this process remembers is dropped")
        self.start_anew(position)

    def start_anew(self, position: int) -> None:
        """Drop what was remembered of before this position."""
        self.on_restart(position)
        for forget in self.on_restored:
            forget()
