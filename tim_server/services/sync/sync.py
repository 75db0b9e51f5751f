"""`/sync`: what has changed for a user since a token; or, where nothing has, wait until something does.

A first answer is made from the database. Later ones come from the commit log's tail in memory where that suffices.
Whoever waits is woken only by commits that concern them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#syncing
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from tim_server.matrix.errors import LimitExceeded
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.presence.track import PresenceTracking
from tim_server.services.sync.answer import Answer
from tim_server.services.sync.choose_filter import FilterChoice
from tim_server.services.sync.from_database import FromDatabase
from tim_server.services.sync.from_memory import AskTheDatabase, FromMemory
from tim_server.services.sync.request import STATE, Reading, SyncOptions, SyncRequest
from tim_server.services.sync.to_device import ToDevicePart
from tim_server.services.sync.views import Views

_LOOK_AGAIN_S = 0.05

_FirstKey: TypeAlias = tuple[UserId, str | None, str | None, tuple[bool, bool], tuple[str, ...]]


@dataclass(slots=True, kw_only=True)
class Sync:
    """Answers syncs. `catch_up` looks for commits of other processes."""

    choice: FilterChoice
    views: Views
    from_memory: FromMemory
    from_database: FromDatabase
    catch_up: Callable[[], Awaitable[None]]
    presence: PresenceTracking
    to_device: ToDevicePart
    options: SyncOptions = field(default_factory=SyncOptions)
    _first: "dict[_FirstKey, asyncio.Task[bytes]]" = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(init=False)
    _stops: "dict[asyncio.Event, asyncio.Task[None]]" = field(default_factory=dict)
    _is_closing: bool = False

    def __post_init__(self) -> None:
        """Make what limits first answers."""
        self._turns = asyncio.Semaphore(self.options.first_answers_at_once)

    async def sync(self, requester: Requester, request: SyncRequest) -> bytes:
        """The response body. Raises `InvalidParam`, `BadJson` or `TooLarge` for a filter that is not one, and
        `LimitExceeded` when too many first answers are in the making."""
        wanted = await self.choice.find(requester.user_id, request.filter)
        timeline = wanted.room.timeline.events
        reading = Reading(
            user_id=requester.user_id,
            device_id=requester.device_id,
            filter=wanted,
            since=None if request.since is None else request.since.position,
            to_device_since=None if request.since is None else request.since.to_device,
            full_state=request.full_state,
            wants_to_device=request.to_device,
            state_keys=request.state_after or STATE,
            timeline_limit=timeline.limit_within(self.options.timeline_limit_default, self.options.timeline_limit_max),
        )
        with self.presence.syncing(reading.user_id, reading.device_id, request.set_presence):
            if reading.since is None:
                return await self._share_first(reading, request)
            await self.catch_up()
            await self.to_device.acknowledge(reading)
            return (await self._next(reading, request)).as_json()

    async def close(self) -> None:
        """Have everybody who waits answer, and finish first answers that are in the making."""
        self._is_closing = True
        for task in self._stops.values():
            task.cancel()
        self.views.wake_all()
        await asyncio.gather(*self._first.values(), *self._stops.values(), return_exceptions=True)

    async def _share_first(self, reading: Reading, request: SyncRequest) -> bytes:
        """A first answer takes long, and clients give up and ask again: they then share what is in the making."""
        wants = request.full_state, request.to_device
        key = (reading.user_id, reading.device_id, request.filter, wants, reading.state_keys)
        task = self._first.get(key)
        if task is None:
            if len(self._first) >= self.options.first_answers_max:
                raise LimitExceeded("Too many first syncs at once; try again", retry_after_ms=2_000)
            task = self._first[key] = asyncio.create_task(self._make_first(reading), name="first-sync")
            task.add_done_callback(lambda done: self._first_is_made(key, done))
        return await asyncio.shield(task)

    async def _make_first(self, reading: Reading) -> bytes:
        async with self._turns:
            return (await self.from_database.answer(reading)).as_json()

    def _first_is_made(self, key: _FirstKey, task: "asyncio.Task[bytes]") -> None:
        del self._first[key]
        if not task.cancelled():
            task.exception()

    async def _next(self, reading: Reading, request: SyncRequest) -> Answer:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + min(max(request.timeout_ms, 0), self.options.timeout_ms_max) / 1000
        while True:
            if deadline <= loop.time() or not self.from_memory.is_quiet(reading):
                answer = await self._answer(reading)
                if answer.has_news or reading.full_state or deadline <= loop.time():
                    return answer
                reading = replace(reading, since=answer.token.position, to_device_since=None)
            assert reading.since is not None
            remaining_s = max(deadline - loop.time(), 0)
            if not await self._wait(reading.user_id, reading.since, remaining_s, request.stopping):
                return await self._answer(reading)

    async def _answer(self, reading: Reading) -> Answer:
        try:
            return await self.from_memory.answer(reading)
        except AskTheDatabase:
            return await self.from_database.answer(reading)

    async def _wait(self, user_id: UserId, since: int, timeout_s: float, stopping: asyncio.Event | None) -> bool:
        """Wait until something after `since` may concern the user; False when it is time to answer anyway."""
        if self._is_closing or (stopping is not None and stopping.is_set()):
            return False
        if stopping is not None and stopping not in self._stops:
            self._stops[stopping] = asyncio.create_task(self._wake_when(stopping), name="sync-stop")
        view = self.views.get(user_id)
        if view is None:  # a commit has changed the user's rooms just now
            await asyncio.sleep(min(_LOOK_AGAIN_S, timeout_s))
            return True
        if view.touched_at > since:
            return True
        return await view.wait(timeout_s, waiting_max=self.options.waiting_per_user_max)

    async def _wake_when(self, stopping: asyncio.Event) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await stopping.wait()
            self.views.wake_all()
