"""Fetching history into the holes of a room's timeline, when somebody reads as far as one.

A hole is filled by one process at a time, which claims its row; others wait for the row to change. One attempt takes
one page from the first server that gives a good one. It goes on also when whoever asked no longer waits. A hole that
can't be filled is left alone for a while, longer each time.

Spec: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.services.rooms.head import RoomHeads
from tim_server.services.rooms.remote.fetch_history import HistoryFetch
from tim_server.services.rooms.remote.servers_with_history import NOT_HELPED, servers_with_history
from tim_server.storage.database import DuplicateKey
from tim_server.storage.holes import HoleRow, claim_hole, load_hole, postpone_hole, release_hole
from tim_server.storage.store import Store
from tim_server.storage.timeline import Place

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillOptions:
    """Bounds: how many servers are asked for one hole, how many holes one process fills at once, how long one attempt
    may take, and how long a hole is left alone after the first failure (doubled with each further one) and at most."""

    servers_max: int = 5
    at_once_max: int = 20
    timeout_s: float = 90.0
    pause_s: float = 10.0
    pause_s_max: float = 86_400.0
    look_interval_s: float = 0.2


@dataclass(slots=True, kw_only=True)
class Backfill:
    """Fills holes."""

    server_name: ServerName
    store: Store
    heads: RoomHeads
    fetching: HistoryFetch
    now_ms: Callable[[], int]
    options: BackfillOptions = field(default_factory=BackfillOptions)
    _running: "dict[tuple[int, Place], asyncio.Task[bool]]" = field(default_factory=dict)

    async def fill(self, room_id: RoomId, hole: HoleRow, *, deadline: float) -> bool:
        """Have the hole filled by a page; whether there is something new to read. Waits until the deadline, a time of
        the event loop."""
        task = self._task(room_id, hole)
        if task is None:
            return False
        await asyncio.wait([task], timeout=max(deadline - asyncio.get_running_loop().time(), 0))
        return task.done() and not task.cancelled() and task.exception() is None and task.result()

    def begin(self, room_id: RoomId, hole: HoleRow) -> None:
        """As `fill`, without waiting."""
        self._task(room_id, hole)

    async def close(self) -> None:
        """End what is going on: it can be begun anew at any time."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _task(self, room_id: RoomId, hole: HoleRow) -> "asyncio.Task[bool] | None":
        """The attempt at this hole that is going on, or a new one; None where there is no use in one now."""
        key = (hole.room_nid, hole.place)
        task = self._running.get(key)
        if task is None and hole.due_ts <= self.now_ms() and len(self._running) < self.options.at_once_max:
            task = asyncio.create_task(self._attempt(room_id, hole), name="backfill")
            self._running[key] = task
            task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: tuple[int, Place], task: "asyncio.Task[bool]") -> None:
        self._running.pop(key)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a hole could not be filled", exc_info=error)

    async def _attempt(self, room_id: RoomId, hole: HoleRow) -> bool:
        """Fill the hole, or wait while another process does; one that was killed has claimed it for a while only."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.options.timeout_s
        while loop.time() < deadline:
            claimed = await self._claim(hole)
            if claimed is not None:
                return await self._fill_claimed(room_id, claimed)
            async with self.store.database.connection() as connection:
                found = await load_hole(connection, hole.room_nid, hole.place)
            if found is None or [*found.missing] != [*hole.missing]:
                return True
            if found.failures != hole.failures or found.due_ts > self.now_ms():
                return False
            await asyncio.sleep(self.options.look_interval_s)
        return False

    async def _claim(self, hole: HoleRow) -> HoleRow | None:
        now_ms = self.now_ms()
        async with self.store.database.transaction() as tx:
            return await claim_hole(tx, hole, now_ms=now_ms, until_ms=now_ms + int(self.options.timeout_s * 1000))

    async def _fill_claimed(self, room_id: RoomId, hole: HoleRow) -> bool:
        is_filled = False
        try:
            async with asyncio.timeout(self.options.timeout_s):
                is_filled = await self._fill(room_id, hole)
        except TimeoutError:
            log.info("filling a hole took too long", room_id=room_id)
        except asyncio.CancelledError:
            await self._release(hole)
            raise
        except Exception:
            await self._postpone(hole)
            raise
        if not is_filled:
            await self._postpone(hole)
        return is_filled

    async def _fill(self, room_id: RoomId, hole: HoleRow) -> bool:
        head = await self.heads.get(room_id)
        if head is None:
            return False
        likely = await self.fetching.likely_servers(head, hole.citing)
        for server in servers_with_history(head, self.server_name, likely)[: self.options.servers_max]:
            try:
                if not await self.fetching.fill(head, hole, server):
                    await self._release(hole)
            except DuplicateKey:  # what was fetched has come by another way meanwhile
                await self._release(hole)
            except NOT_HELPED as error:
                log.info("another server did not help with history", server=server, error=type(error).__name__)
                continue
            return True
        return False

    async def _release(self, hole: HoleRow) -> None:
        async with self.store.database.transaction() as tx:
            await release_hole(tx, hole)

    async def _postpone(self, hole: HoleRow) -> None:
        pause_s = min(self.options.pause_s * 2**hole.failures, self.options.pause_s_max)
        async with self.store.database.transaction() as tx:
            await postpone_hole(tx, hole, self.now_ms() + int(pause_s * 1000))
