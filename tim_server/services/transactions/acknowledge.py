"""Recording what servers have acknowledged: gathered over all of them for a moment, and written at once.

What a crash loses of it is sent once more, and the other server knows it already: a transaction of the same content by
its id, an event by its own. So nothing waits for the disk here.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.edus import EduSource
from tim_server.storage.database import Connection, Database
from tim_server.storage.destinations import Delivered, put_delivered
from tim_server.storage.outbox import delete_acknowledged, do_not_wait_for_the_disk

GATHERED_FOR_S = 0.2
RETRY_S = 1.0

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Acknowledgements:
    """What is to be recorded, by server; `flush` records it now."""

    database: Database
    sources: Sequence[EduSource]
    _delivered: dict[ServerName, Delivered] = field(default_factory=dict)
    _task: "asyncio.Task[None] | None" = None

    def add(self, destination: ServerName, delivered: Delivered) -> None:
        """Record this soon."""
        self._delivered[destination] = _merged(self._delivered.get(destination), delivered)
        if self._task is None:
            self._task = asyncio.create_task(self._flush_soon(), name="acknowledgements")

    async def flush(self) -> None:
        """Record what there is; what could not be recorded stays, and the error is raised."""
        delivered, self._delivered = self._delivered, {}
        if not delivered:
            return
        try:
            async with self.database.transaction() as tx:
                await do_not_wait_for_the_disk(tx)
                await self._store(tx, delivered)
        except BaseException:
            for destination, earlier in delivered.items():
                later = self._delivered.get(destination)
                self._delivered[destination] = earlier if later is None else _merged(earlier, later)
            raise

    async def close(self) -> None:
        """Record what there is, if that can be done."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        try:
            await self.flush()
        except Exception as error:
            log.warning("what servers have acknowledged could not be recorded", error=type(error).__name__)
        self._delivered.clear()

    async def _flush_soon(self) -> None:
        pause_s = GATHERED_FOR_S
        while self._delivered:
            await asyncio.sleep(pause_s)
            try:
                await self.flush()
                pause_s = GATHERED_FOR_S
            except Exception as error:
                log.warning("what servers have acknowledged could not be recorded", error=type(error).__name__)
                pause_s = RETRY_S
        self._task = None

    async def _store(self, tx: Connection, delivered: dict[ServerName, Delivered]) -> None:
        names = sorted(delivered)  # one order for all
        await put_delivered(tx, {name: delivered[name] for name in names})
        events = {name: up_to for name in names if (up_to := delivered[name].up_to) is not None}
        if events:
            await delete_acknowledged(tx, events)
        for source in self.sources:
            cursors = {name: d.cursors[source.name] for name, d in delivered.items() if source.name in d.cursors}
            if cursors:
                await source.acknowledged(tx, cursors)


def _merged(earlier: Delivered | None, later: Delivered) -> Delivered:
    if earlier is None:
        return later
    return Delivered(
        ts=earlier.ts if later.ts is None else later.ts,
        txn_id=later.txn_id,
        up_to=earlier.up_to if later.up_to is None else later.up_to,
        cursors={**earlier.cursors, **later.cursors},
    )
