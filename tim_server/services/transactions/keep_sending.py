"""Sending to other servers as a job of the elected process: taking over, following the commit log, looking after what
takes time.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.send import TransactionSender
from tim_server.services.transactions.watch_edus import EduWatch
from tim_server.storage.commit_log import CommitEntry, OwedEvent
from tim_server.storage.database import Connection
from tim_server.storage.destinations import HEARD, load_destinations
from tim_server.storage.election import Tenure
from tim_server.storage.outbox import count_owed, find_destinations_owed, find_too_long, shorten_outbox
from tim_server.storage.room_servers import find_servers
from tim_server.storage.store import Store

GRACE_S = 5.0
"""How long a transaction that is under way when the process stops has to be answered."""
LOOK_AFTER_INTERVAL_S = 600.0

log = structlog.get_logger(__name__)


def by_destination(owed: Mapping[tuple[ServerName, ...], Sequence[OwedEvent]]) -> dict[ServerName, list[OwedEvent]]:
    """The events that each server is owed because of a commit, in order: rooms with different servers may have taken
    turns in it."""
    events: dict[ServerName, list[OwedEvent]] = {}
    for destinations, of_these in owed.items():
        for name in destinations:
            events.setdefault(name, []).extend(of_these)
    if len(owed) > 1:
        for of_server in events.values():
            of_server.sort()  # by position
    return events


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """That servers are told again from time to time what a source has to tell of rooms, since they forget it else."""

    source: str
    interval_s: float
    rooms: Callable[[Connection], Awaitable[Collection[int]]]


@dataclass(slots=True, kw_only=True)
class FederationSending:
    """`run` it in the elected process, and have it follow the commit log in every one. A server is owed
    `outbox_events_max` events at most; of a server that is owed more, only the newest of each room."""

    store: Store
    sender: TransactionSender
    watch: EduWatch
    repeats: Sequence[Repeat]
    outbox_events_max: int
    _is_elected: bool = False
    _early: list[CommitEntry] | None = None
    _restored: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, tenure: Tenure) -> None:
        """Send until cancelled."""
        try:
            while True:
                self._restored.clear()
                await self._take_over()
                async with asyncio.TaskGroup() as group:
                    jobs = [group.create_task(job, name="sending") for job in (self._look_after(), *self._repeating())]
                    await self._restored.wait()
                    for job in jobs:
                        job.cancel()
                log.warning("what is owed to other servers is read again")
                await self._stop(grace_s=0)
        finally:
            await self._stop(grace_s=0 if tenure.is_lost else GRACE_S)

    def follow(self, entry: CommitEntry) -> None:
        """Take in a commit, where this process sends."""
        if self._early is not None:
            self._early.append(entry)
        elif self._is_elected:
            self._take_in(entry)

    def restart(self) -> None:
        """What this process remembers may be wrong, as after a restore."""
        self._restored.set()

    async def _take_over(self) -> None:
        """Learn what there is. Commits that are told meanwhile are taken in after it; that some are known already does
        no harm."""
        self._early = []
        try:
            async with self.store.database.read() as tx:
                known = await load_destinations(tx, limit=self.sender.options.destinations_max)
                in_rooms = await find_servers(tx, limit=self.sender.options.destinations_max)
                owed = await find_destinations_owed(tx)
                waiting = {name for source in self.watch.sources for name in await source.waiting(tx)}
                self.sender.waiting_count = await count_owed(tx)
            self.sender.begin(known, in_rooms=in_rooms, owed=owed, waiting=waiting)
            self._is_elected = True
            for entry in self._early:
                self._take_in(entry)
        finally:
            self._early = None

    async def _stop(self, *, grace_s: float) -> None:
        self._is_elected = False
        await self.watch.close()
        await self.sender.stop(grace_s=grace_s)

    def _take_in(self, entry: CommitEntry) -> None:
        if entry.owed:
            self.sender.composer.bodies.follow(entry)
            for name, events in by_destination(entry.owed).items():
                self.sender.owe(name, events)
        for server, streams in entry.servers.items():
            if HEARD in streams:
                self.sender.try_now(server)
        self.watch.follow(entry)

    async def _look_after(self) -> None:
        """Keep the outbox of servers that are away within its bound."""
        while True:
            await asyncio.sleep(LOOK_AFTER_INTERVAL_S)
            try:
                await self.shorten()
            except MatrixError as error:
                log.warning("the outbox could not be looked after", errcode=error.errcode)

    async def shorten(self) -> None:
        """Leave the newest event of each room to servers that are owed too many: they ask for those before it."""
        up_to = self.store.commit_log.position
        busy = {destination.name: destination for destination in self.sender.busy()}
        async with self.store.database.transaction() as tx:
            names = await find_too_long(tx, list(busy), events_max=self.outbox_events_max)
            gone = await shorten_outbox(tx, names, up_to=up_to) if names else 0
            self.sender.waiting_count = await count_owed(tx)
        for name in names:
            busy[name].waiting.forget()
        if gone:
            log.warning("servers that are away will have to ask for events", destinations=names, events=gone)

    def _repeating(self) -> list[Coroutine[Any, Any, None]]:
        return [self._repeat(repeat) for repeat in self.repeats]

    async def _repeat(self, repeat: Repeat) -> None:
        while True:
            await asyncio.sleep(repeat.interval_s)
            try:
                async with self.store.database.connection() as connection:
                    rooms = await repeat.rooms(connection)
            except MatrixError as error:
                log.warning("nothing could be repeated", source=repeat.source, errcode=error.errcode)
                continue
            if rooms:
                self.watch.repeat(repeat.source, rooms, self.store.commit_log.position)
