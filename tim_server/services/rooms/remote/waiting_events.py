"""Events that wait for others which must be fetched first, or for a join that is under way: kept from the moment on
that their sender is told that they are here, and worked on by one process of the homeserver, room by room.

A room whose events wait holds up no other: rooms are worked on side by side, few of them for the same server, and an
attempt takes a bounded time. What fails because a server can't be reached is tried again, later each time, and when the
server is heard; what a server does not tell although it answers is given up: it will be asked anew when something else
stands on it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from tim_server.egress.errors import OutgoingError, RemoteUnreachable
from tim_server.federation.errors import RemoteError
from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, NotFound, Unavailable
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.receive import EventsMissing, Incoming
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.joins_under_way import JoinsUnderWay
from tim_server.services.rooms.remote.missing_events import GapTooWide, MissingEvents
from tim_server.services.rooms.remote.take_in_state import StateRefused
from tim_server.services.rooms.resident.participation import Participation
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.destinations import HEARD, WORKING
from tim_server.storage.election import Tenure
from tim_server.storage.store import Store
from tim_server.storage.waiting_pdus import (
    POSTPONED,
    WAITING,
    DueRoom,
    WaitingPdus,
    delete_waiting,
    find_due,
    find_next_due,
    hasten_waiting,
    insert_waiting,
    load_waiting,
    postpone_waiting,
)

ROUNDS_MAX = 3
"""How often what was fetched may turn out to have been overtaken by what others have stored."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingOptions:
    """Bounds: events that wait of one server (a quarter of it in one room), rooms that are worked on at once, and of
    these for one server; how long an attempt may take, and how many servers are asked in it; the pause after the first
    failure, four times as long with each further one, and at most; after how many failures events are given up; how
    often one looks for what nobody has told of; how soon a server that is heard once more is asked anew."""

    events_max: int = 2_000
    rooms_at_once: int = 10
    rooms_per_origin: int = 2
    timeout_s: float = 180.0
    servers_max: int = 3
    pause_s: float = 10.0
    pause_s_max: float = 3_600.0
    attempts_max: int = 10
    look_interval_s: float = 600.0
    heard_interval_s: float = 30.0


class _TryLater(Exception):
    """Nothing can be said before a server is there again."""


@dataclass(slots=True, kw_only=True)
class WaitingEvents:
    """`keep` in any process, `run` in the elected one; follow the commit log in every one."""

    store: Store
    queues: RoomQueues
    check: PduCheck
    missing: MissingEvents
    participation: Participation
    joins: JoinsUnderWay
    now_ms: Callable[[], int]
    options: WaitingOptions = field(default_factory=WaitingOptions)
    counts: Counter[str] = field(default_factory=lambda: Counter(worked_on=0, postponed=0, given_up=0))
    """Events that waited by what came of an attempt."""
    _running: "dict[int, asyncio.Task[None]]" = field(default_factory=dict)
    _origins: Counter[ServerName] = field(default_factory=Counter)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _is_working: bool = False
    _heard: set[ServerName] = field(default_factory=set)
    _hastened_ms: dict[ServerName, int] = field(default_factory=dict)

    async def keep(self, head: RoomHead, origin: ServerName, pdus: Mapping[EventId, bytes]) -> set[EventId]:
        """Have events of a room wait; those for which there is room."""
        due = DueRoom(room_nid=head.nid, room_id=head.room_id, origin=origin)
        keep = _Keep(
            codec=self.store.codec, due=due, pdus=pdus, now_ms=self.now_ms(), waiting_max=self.options.events_max
        )
        return await self.store.writer.write(keep)

    async def run(self, _tenure: Tenure) -> None:
        """Work on what is due until cancelled; what was begun can be begun anew by another process."""
        self._is_working = True
        try:
            while True:
                self._wake.clear()
                await self._hasten()
                with suppress(TimeoutError):
                    async with asyncio.timeout(await self._begin_due()):
                        await self._wake.wait()
        finally:
            self._is_working = False
            self._heard.clear()
            running = list(self._running.values())
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def follow(self, entry: CommitEntry) -> None:
        """Look again when events were kept, and when a server is there again whose events could not be worked on."""
        for server, streams in entry.servers.items():
            if self._is_working and (HEARD in streams or WORKING in streams):
                self._heard.add(server)
                self._wake.set()
            if WAITING in streams:
                self._wake.set()

    async def _hasten(self) -> None:
        """Have those events tried that wait for servers which were heard: at once, or soon where that was just done."""
        if not self._heard:
            return
        now_ms, heard = self.now_ms(), frozenset(self._heard)
        self._heard -= heard
        since_ms = now_ms - int(self.options.heard_interval_s * 1000)
        self._hastened_ms = {server: ms for server, ms in self._hastened_ms.items() if ms > since_ms}
        soon = heard & self._hastened_ms.keys()
        async with self.store.database.transaction() as tx:
            await hasten_waiting(tx, soon, now_ms + now_ms - since_ms)
            hastened = await hasten_waiting(tx, heard - soon, now_ms)
        self._hastened_ms |= dict.fromkeys(hastened, now_ms)

    async def _begin_due(self) -> float:
        """Begin work on rooms with events that are due; in how many seconds one should look again."""
        options, now_ms = self.options, self.now_ms()
        free = options.rooms_at_once - len(self._running)
        busy = [origin for origin, count in self._origins.items() if count >= options.rooms_per_origin]
        async with self.store.database.connection() as connection:
            due = await find_due(connection, now_ms, but_rooms=self._running, but_origins=busy, limit=free)
            next_ms = await find_next_due(connection, now_ms)
        for room in due:
            if self._origins[room.origin] < options.rooms_per_origin:
                self._begin(room)
        pause_s = options.look_interval_s if next_ms is None else (next_ms - now_ms) / 1000
        return min(pause_s, options.look_interval_s)

    def _begin(self, room: DueRoom) -> None:
        task = self._running[room.room_nid] = asyncio.create_task(self._work(room), name="waiting-events")
        self._origins[room.origin] += 1
        task.add_done_callback(lambda done: self._end(room, done))

    def _end(self, room: DueRoom, task: "asyncio.Task[None]") -> None:
        del self._running[room.room_nid]
        self._origins[room.origin] -= 1
        self._origins += Counter()  # forgets those that are at 0
        self._wake.set()
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("events that wait could not be worked on", room_id=room.room_id, exc_info=error)

    async def _work(self, room: DueRoom) -> None:
        async with self.store.database.connection() as connection:
            waiting = await load_waiting(connection, self.store.codec, room, self.now_ms())
        try:
            async with asyncio.timeout(self.options.timeout_s):
                await self._take_in(room, [*waiting.pdus.values()])
        except (TimeoutError, _TryLater, Unavailable) as error:
            await self._postpone(room, waiting, error)
        except Exception as error:
            await self._postpone(room, waiting, error)
            raise
        else:
            self.counts["worked_on"] += len(waiting.pdus)
            await self._let_go([*waiting.pdus])

    async def _postpone(self, room: DueRoom, waiting: WaitingPdus, error: Exception) -> None:
        reason = type(error.__cause__ or error).__name__
        about = {"room_id": room.room_id, "server": room.origin, "events": len(waiting.pdus), "reason": reason}
        if waiting.attempts + 1 >= self.options.attempts_max:
            log.warning("events that wait are given up", **about)
            self.counts["given_up"] += len(waiting.pdus)
            await self._let_go([*waiting.pdus])
            return
        pause_s = min(self.options.pause_s * 4**waiting.attempts, self.options.pause_s_max)
        log.info("events have to wait longer", pause_s=pause_s, **about)
        self.counts["postponed"] += len(waiting.pdus)
        due_ts = self.now_ms() + int(pause_s * 1000)
        await self.store.writer.write(_Postpone(origin=room.origin, numbers=[*waiting.pdus], due_ts=due_ts))

    async def _let_go(self, numbers: Sequence[int]) -> None:
        async with self.store.database.transaction() as tx:
            await delete_waiting(tx, numbers)

    async def _take_in(self, room: DueRoom, pdus: Sequence[bytes]) -> None:
        """Raises `_TryLater`, `Unavailable`."""
        for _ in range(ROUNDS_MAX):
            try:
                head = await self.participation.check_acl(room.room_id, room.origin)
            except Forbidden:
                return
            except NotFound:
                if await self.joins.is_under_way(room.room_id):
                    raise _TryLater from None
                return
            checked = await self.check.check([decode_lenient(pdu) for pdu in pdus], head.version, head.room_id)
            if not checked.events:
                return
            try:
                await self._complete(head, room.origin, checked.events)
            except EventsMissing:
                continue
            return
        raise _TryLater

    async def _complete(self, head: RoomHead, origin: ServerName, events: Sequence[Event]) -> None:
        """Ask the servers that are likeliest to help, one after the other, until one does. That a server tells nothing
        of events is the end of them, unless a likelier one could not be asked: perhaps it is the only one that can."""
        unreachable: Exception | None = None
        for server in self._servers(head, origin, events):
            try:
                incoming, given_up = await self.missing.complete(head, server, events)
            except (RemoteError, OutgoingError, StateRefused, GapTooWide) as error:
                log.info("another server did not help", server=server, error=type(error).__name__, reason=str(error))
                if _may_pass(error):
                    unreachable = error
                continue
            if incoming.events:
                await self._submit(head.room_id, incoming)
            if given_up and unreachable is None:
                log.info("events were given up", room_id=head.room_id, server=server, events=len(given_up))
            if not given_up or unreachable is None:
                return
            events = [event for event in events if event.event_id in given_up]
        if unreachable is not None:
            raise _TryLater from unreachable

    async def _submit(self, room_id: RoomId, incoming: Incoming) -> None:
        """Raises `EventsMissing` and `Unavailable`; that the room is not ours any more is no matter."""
        with suppress(NotFound):
            await self.queues.submit(room_id, incoming)

    def _servers(self, head: RoomHead, origin: ServerName, events: Sequence[Event]) -> list[ServerName]:
        """Who sent the events, whose users did, and who has the most members."""
        own = self.queues.author.server_name
        joined = {server: count for server, count in head.joined_servers.items() if count > 0}
        most = sorted(joined, key=lambda server: -joined[server])
        senders = [event.sender.server_name for event in events[:1] if event.sender.server_name in joined]
        likely = dict.fromkeys(ServerName(server) for server in (origin, *senders, *most) if server != own)
        return list(likely)[: self.options.servers_max]


def _may_pass(error: Exception) -> bool:
    """Whether the server may help later, or another one: that it does not know something, is not in the room any more,
    or takes this one for not being in it yet, says nothing of the events."""
    if isinstance(error, RemoteError):
        return error.status == 429 or error.status >= 500 or error.errcode in ("M_FORBIDDEN", "M_NOT_FOUND")
    return isinstance(error, RemoteUnreachable)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Postpone:
    origin: ServerName
    numbers: Sequence[int]
    due_ts: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> Mapping[ServerName, frozenset[str]]:
        return {self.origin: frozenset({POSTPONED})}

    async def store(self, tx: Connection, position: int) -> None:
        await postpone_waiting(tx, self.numbers, self.due_ts)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keep:
    codec: Codec
    due: DueRoom
    pdus: Mapping[EventId, bytes]
    now_ms: int
    waiting_max: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def servers(self) -> Mapping[ServerName, frozenset[str]]:
        return {self.due.origin: frozenset({WAITING})}

    async def store(self, tx: Connection, position: int) -> set[EventId]:
        return await insert_waiting(
            tx, self.codec, self.due, self.pdus, due_ts=self.now_ms, waiting_max=self.waiting_max
        )
