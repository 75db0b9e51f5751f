"""Sending: each server gets what it is owed, in order, one transaction after another.

One process of a homeserver does it, the elected one. It remembers the servers; a task works for each that is owed
anything, and none for the others. What is owed is told by the commit log as it happens, and read from the database
where that does not suffice: after a start, and where too much has piled up to be remembered.

A server to which sending fails is left alone for a time that grows with each failure; when it is heard, it is tried.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
import random
import secrets
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field

import structlog

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.transactions import send_transaction
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.acknowledge import Acknowledgements
from tim_server.services.transactions.backoff import DELAY_S_MAX, Problem, delay_s, problem_of
from tim_server.services.transactions.compose import Composer
from tim_server.services.transactions.destination import Destination
from tim_server.services.transactions.receive import PDUS_MAX
from tim_server.services.transactions.record_failures import RecordFailure, TellOfServer
from tim_server.services.transactions.transaction import Transaction
from tim_server.storage.commit_log import OwedEvent
from tim_server.storage.destinations import WORKING, Delivered, DestinationRow, Failure
from tim_server.storage.writer import Writer

HELD_FOR_S = 60.0
"""A transaction that may have arrived is remembered for so long; after that it is put together anew."""
SLOW_S = 5.0
"""A server that took longer to answer waits for a place among the slow ones."""
LOCAL_PAUSE_S = 1.0
"""How long to wait where the fault is on this side, as when the database is away."""
STUMBLE_PAUSE_S_MAX = 300.0
HEARD_PAUSE_S = 5.0
"""So long after an attempt, that the server is heard changes nothing."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingOptions:
    """Bounds: transactions under way at once to servers that are known to answer soon; to others, which so never keep
    them waiting; servers remembered."""

    concurrent_max: int = 50
    slow_concurrent_max: int = 20
    destinations_max: int = 20_000


@dataclass(slots=True, kw_only=True)
class TransactionSender:
    """The servers that this process sends to while it is elected. `counts` of attempts by outcome; `waiting_count`:
    about how many events wait, over all servers."""

    client: FederationClient
    writer: Writer
    composer: Composer
    acknowledgements: Acknowledgements
    now_ms: Callable[[], int]
    options: SendingOptions = field(default_factory=SendingOptions)
    counts: Counter[str] = field(default_factory=Counter)
    waiting_count: int = 0
    _destinations: "OrderedDict[ServerName, Destination]" = field(default_factory=OrderedDict)
    _is_sending: bool = False
    _has_forgotten: bool = False
    _places: asyncio.Semaphore = field(init=False)
    _slow_places: asyncio.Semaphore = field(init=False)
    _telling: "set[asyncio.Task[None]]" = field(default_factory=set)

    def __post_init__(self) -> None:
        """Make the places."""
        self._places = asyncio.Semaphore(self.options.concurrent_max)
        self._slow_places = asyncio.Semaphore(self.options.slow_concurrent_max)

    def begin(
        self,
        known: Iterable[DestinationRow],
        *,
        in_rooms: Collection[ServerName],
        owed: Collection[ServerName],
        waiting: Collection[ServerName],
    ) -> None:
        """Send from now on. `known` are servers that anything was sent to, `in_rooms` all that take part in rooms,
        `owed` those with events in the outbox; for `waiting` a source of EDUs has something. What sources owe all
        others is asked when there is something else for them."""
        self._is_sending = True
        now_ms = self.now_ms()
        for row in known:
            destination = self._destinations[row.destination] = Destination.of(row)
            if row.retry_ts is not None:
                self._retry_in(destination, min(max(row.retry_ts - now_ms, 0) / 1000, DELAY_S_MAX))
        for name in {*in_rooms, *owed, *waiting} - self._destinations.keys() - {self.composer.server_name}:
            self._destinations[name] = Destination(name=name)
        for destination in self._destinations.values():
            destination.ask_all()
            destination.waiting.is_behind = destination.name in owed
        for name in {*owed, *waiting}:
            self._wake(self._destinations[name])

    async def stop(self, *, grace_s: float) -> None:
        """Send no more; what is under way to servers that answer soon has so long to be answered."""
        self._is_sending = False
        working = {d.task: d.waits_among_slow for d in self._destinations.values() if d.task is not None}
        answered = [task for task, is_slow in working.items() if not is_slow]
        if answered and grace_s:
            await asyncio.wait(answered, timeout=grace_s)
        for task in working:
            task.cancel()
        await asyncio.gather(*working, *self._telling, return_exceptions=True)
        for destination in self._destinations.values():
            if destination.retry is not None:  # also of what has failed meanwhile
                destination.retry.cancel()
        await self.acknowledgements.close()
        self._destinations.clear()
        self.composer.bodies.clear()
        self.waiting_count = 0

    def owe(self, name: ServerName, events: Sequence[OwedEvent]) -> None:
        """The server is owed events that were just committed."""
        destination = self._meet(name, events[0].position - 1)
        destination.waiting.append(events)
        self.waiting_count += len(events)
        if destination.behind_since is None:
            destination.behind_since = asyncio.get_running_loop().time()
        self._wake(destination)

    def touch(
        self, server: ServerName, source: str, since: int, *, room: int | None = None, whole: bool = False
    ) -> None:
        """A source of EDUs may owe the server something."""
        destination = self._meet(server, since)
        destination.touch(source, since, room=room, whole=whole)
        self._wake(destination)

    def try_now(self, name: ServerName) -> None:
        """The server is there: what failed may succeed."""
        destination = self._destinations.get(name)
        if destination is None or destination.retry is None:
            return
        if asyncio.get_running_loop().time() - destination.tried_at >= HEARD_PAUSE_S:
            destination.retry.cancel()
            self._try_again(destination)

    def busy(self) -> list[Destination]:
        """The servers that are sent something now, or to which sending fails."""
        return [each for each in self._destinations.values() if each.task is not None or each.retry is not None]

    @property
    def failing_count(self) -> int:
        """To how many servers sending fails."""
        return sum(destination.failures > 0 for destination in self._destinations.values())

    def lag_s(self) -> float:
        """For how long the server that is the furthest behind of those to which sending works has not had all."""
        now = asyncio.get_running_loop().time()
        since = [d.behind_since for d in self._destinations.values() if d.behind_since is not None and not d.failures]
        return now - min(since) if since else 0.0

    def _meet(self, name: ServerName, position: int) -> Destination:
        """The server; one that is not known has nothing to come from before the position."""
        destination = self._destinations.get(name)
        if destination is not None:
            self._destinations.move_to_end(name)
            return destination
        cursors = {source.name: source.first_cursor(position) for source in self.acknowledgements.sources}
        destination = self._destinations[name] = Destination(name=name, cursors=cursors)
        if self._has_forgotten:  # it may be one of those
            destination.cursors.clear()
            destination.txn_id = secrets.token_hex(8)
            destination.waiting.is_behind = True
            destination.ask_all()
        if len(self._destinations) > self.options.destinations_max:
            self._forget_one()
        return destination

    def _forget_one(self) -> None:
        for name, destination in self._destinations.items():
            if destination.task is None and destination.retry is None:
                del self._destinations[name]
                self._has_forgotten = True
                return

    def _wake(self, destination: Destination) -> None:
        if self._is_sending and destination.task is None and destination.retry is None:
            destination.task = asyncio.create_task(self._work(destination), name="send")

    def _retry_in(self, destination: Destination, seconds: float) -> None:
        destination.retry = asyncio.get_running_loop().call_later(seconds, self._try_again, destination)

    def _try_again(self, destination: Destination) -> None:
        destination.retry = None
        self._wake(destination)

    async def _work(self, destination: Destination) -> None:
        try:
            while self._is_sending and destination.is_owed:
                async with self._slow_places if destination.waits_among_slow else self._places:
                    if not await self._send_next(destination):
                        return
        except MatrixError as error:
            log.warning("nothing can be sent now", destination=destination.name, errcode=error.errcode)
            self._retry_in(destination, LOCAL_PAUSE_S)
        except Exception:
            log.exception("a transaction could not be put together", destination=destination.name)
            destination.stumbles += 1
            self._retry_in(destination, min(LOCAL_PAUSE_S * 2**destination.stumbles, STUMBLE_PAUSE_S_MAX))
        finally:
            destination.task = None
        if not destination.is_owed:
            destination.behind_since = None

    async def _send_next(self, destination: Destination) -> bool:
        """Send one transaction, if there is anything; False where the server must be left alone now."""
        transaction = destination.pending or await self.composer.compose(destination)
        if transaction.is_empty and destination.refused is None:
            self._record(destination, transaction)
            return True
        destination.tried_at = began = asyncio.get_running_loop().time()
        try:
            refused = await send_transaction(self.client, destination.name, transaction.txn_id, transaction.body)
        except (OutgoingError, RemoteError) as error:
            return self._was_not_taken(destination, transaction, problem_of(error))
        destination.is_slow = asyncio.get_running_loop().time() - began > SLOW_S
        if refused:
            log.warning("a server does not take events", destination=destination.name, event_ids=refused[:PDUS_MAX])
        self._succeed(destination, transaction)
        if destination.refused is not None:
            await self._give_up(destination, destination.refused)
        return True

    def _was_not_taken(self, destination: Destination, transaction: Transaction, problem: Problem) -> bool:
        """Whether to go on, with parts of it."""
        self.counts[problem.outcome] += 1
        if problem.is_final and not transaction.is_empty:
            destination.take_apart(transaction)
            return True
        self._fail(destination, transaction, problem)
        return False

    async def _give_up(self, destination: Destination, refused: Transaction) -> None:
        """One event, or one EDU, is refused by a server that takes transactions: what comes after it must go on."""
        log.warning(
            "a server refuses what it is sent, for ever",
            destination=destination.name,
            event_ids=await self.composer.event_ids(refused),
            edus=len(refused.edus),
        )
        self.counts["given_up"] += 1
        destination.refused = None
        self._record(destination, refused)

    def _succeed(self, destination: Destination, transaction: Transaction) -> None:
        self.counts["delivered"] += 1
        self._record(destination, transaction)
        if destination.failures:
            log.info("a server takes transactions again", destination=destination.name, failures=destination.failures)
            destination.failures, destination.failing_since_ts = 0, None
            self._tell(TellOfServer(server=destination.name, stream=WORKING))

    def _record(self, destination: Destination, transaction: Transaction) -> None:
        """The server needs nothing of this any more."""
        self.waiting_count -= destination.acknowledge(transaction)
        delivered = Delivered(
            ts=None if transaction.is_empty else self.now_ms(),
            txn_id=destination.txn_id,
            up_to=transaction.up_to,
            cursors=transaction.cursors if destination.is_recorded else dict(destination.cursors),
        )
        destination.is_recorded = True
        self.acknowledgements.add(destination.name, delivered)

    def _fail(self, destination: Destination, transaction: Transaction, problem: Problem) -> None:
        destination.failures += 1
        now_ms = self.now_ms()
        destination.failing_since_ts = destination.failing_since_ts or now_ms
        wait_s = delay_s(destination.failures, problem, random.random())
        if destination.failures == 1:
            log.warning("a server does not take transactions", destination=destination.name, problem=problem.text)
        destination.give_back(transaction, hold=problem.may_have_arrived and wait_s <= HELD_FOR_S)
        self._retry_in(destination, wait_s)
        failure = Failure(
            since_ts=destination.failing_since_ts,
            failures=destination.failures,
            retry_ts=now_ms + int(wait_s * 1000),
            problem=problem.text,
            cursors=dict(destination.cursors),
        )
        self._tell(RecordFailure(destination=destination.name, failure=failure))

    def _tell(self, write: RecordFailure | TellOfServer) -> None:
        task = asyncio.create_task(self._write(write), name="record-destination")
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _write(self, write: RecordFailure | TellOfServer) -> None:
        try:
            await self.writer.write(write)
        except MatrixError as error:
            log.warning("the state of a server could not be recorded", errcode=error.errcode)
