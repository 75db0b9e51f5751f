"""Reaching into the midst of history that is not here: for the event that is nearest to a time, or for one that a
client names. It gets its place in the hole in which it lies, with holes on both sides, so that clients page on from it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
"""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from tim_server.federation.client import FederationClient
from tim_server.federation.history import event_by_time
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.services.rooms.head import RoomHead, RoomHeads
from tim_server.services.rooms.remote.fetch_history import HistoryFetch
from tim_server.services.rooms.remote.servers_with_history import NOT_HELPED, servers_with_history
from tim_server.storage.holes import may_hold_time

SERVERS_MAX = 3
FAILURES_REMEMBERED_MAX = 1_000
TS_MAX = 2**63 - 1

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedTime:
    """Which event is wanted: the one nearest to `ts` in a direction, nearer than the one of time `found_ts`, which is
    here (None: none is). Milliseconds since the epoch."""

    ts: int
    backwards: bool
    found_ts: int | None

    @property
    def span(self) -> tuple[int, int]:
        """The first and the last time that such an event may have."""
        if self.backwards:
            return (-TS_MAX if self.found_ts is None else self.found_ts + 1), self.ts
        return self.ts, (TS_MAX if self.found_ts is None else self.found_ts - 1)


@dataclass(slots=True, kw_only=True)
class HistoryReach:
    """Fetches single events of history. What could not be had is not asked for again for `pause_s`; one attempt takes
    at most `timeout_s`, and at most `at_once_max` go on at once."""

    server_name: ServerName
    client: FederationClient
    heads: RoomHeads
    fetching: HistoryFetch
    timeout_s: float = 15.0
    pause_s: float = 60.0
    at_once_max: int = 20
    _running: "dict[tuple[RoomId, object], asyncio.Task[bool]]" = field(default_factory=dict)
    _failed: OrderedDict[tuple[RoomId, object], float] = field(default_factory=OrderedDict)

    async def by_time(self, room_id: RoomId, wanted: WantedTime) -> bool:
        """Have the event fetched that is wanted; whether one was."""
        first_ts, last_ts = wanted.span
        head = await self.heads.get(room_id)
        if head is None or not await self._may_be_missing(head, first_ts, last_ts):
            return False

        async def ask(server: ServerName) -> bool:
            event_id, ts = await event_by_time(self.client, server, room_id, wanted.ts, backwards=wanted.backwards)
            return first_ts <= ts <= last_ts and await self.fetching.reach(head, event_id, server)

        return await self._once((room_id, wanted), head, ask)

    async def event(self, room_id: RoomId, event_id: EventId) -> bool:
        """Have this event fetched; whether it was."""
        head = await self.heads.get(room_id)
        if head is None or not await self._may_be_missing(head, -TS_MAX, TS_MAX):
            return False

        async def ask(server: ServerName) -> bool:
            return await self.fetching.reach(head, event_id, server)

        return await self._once((room_id, event_id), head, ask)

    async def close(self) -> None:
        """End what is going on: it can be begun anew at any time."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _may_be_missing(self, head: RoomHead, first_ts: int, last_ts: int) -> bool:
        async with self.fetching.store.database.connection() as connection:
            return await may_hold_time(connection, head.nid, first_ts=first_ts, last_ts=last_ts)

    async def _once(
        self, key: tuple[RoomId, object], head: RoomHead, ask: Callable[[ServerName], Awaitable[bool]]
    ) -> bool:
        """Ask servers in turn until one helps. Who wants the same shares one attempt."""
        task = self._running.get(key)
        if task is None:
            now = asyncio.get_running_loop().time()
            if self._failed.get(key, now) > now or len(self._running) >= self.at_once_max:
                return False
            task = self._running[key] = asyncio.create_task(self._attempt(key, head, ask), name="reach-history")
            task.add_done_callback(lambda _: self._running.pop(key))
        return await asyncio.shield(task)

    async def _attempt(
        self, key: tuple[RoomId, object], head: RoomHead, ask: Callable[[ServerName], Awaitable[bool]]
    ) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(self.timeout_s):
                likely = await self.fetching.likely_servers(head)
                for server in servers_with_history(head, self.server_name, likely)[:SERVERS_MAX]:
                    try:
                        if await ask(server):
                            return True
                    except NOT_HELPED as error:
                        log.info("another server did not help with history", server=server, error=type(error).__name__)
        self._failed[key] = asyncio.get_running_loop().time() + self.pause_s
        self._failed.move_to_end(key)
        while len(self._failed) > FAILURES_REMEMBERED_MAX:
            self._failed.popitem(last=False)
        return False
