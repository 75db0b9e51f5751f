"""The writer: one transaction commits what many callers decided, over all rooms (group commit).

Every process has one writer with a connection of its own. It takes what waits, locks the rows of the rooms in sorted
order, compares head versions, takes the clock, inserts with set statements, and commits. A room whose head has moved is
given back to be decided again. When a batch fails, its units are tried one by one, so that a bad one fails alone.
A connection lost in COMMIT is settled by asking for the commit's row once the clock can be had again.

Callers may vanish; what they asked for is still carried out. While PostgreSQL is away, they wait for a bounded time and
are then told `Unavailable`: what became of a commit that could not be settled they learn by repeating the request.
"""

import asyncio
import contextlib
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import asyncpg
import structlog

from tim_server.matrix.errors import MatrixError, RoomInUse, Unavailable
from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage import clock, room_commits
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import MEMBERSHIPS, CommitEntry, by_room, encode_touched
from tim_server.storage.database import CONNECTION_FAILURES, OUT_OF_SERVICE, Connection, Database, is_lost
from tim_server.storage.incarnations import Incarnations
from tim_server.storage.nids import Nids
from tim_server.storage.open_rooms import write_open_rooms
from tim_server.storage.room_commit_records import PlacedCommit, RoomCommit, event_rows, owed_by, place
from tim_server.storage.room_directory import write_names
from tim_server.storage.rooms import lock_rooms
from tim_server.storage.write import ResetsRooms, TellsFacts, TouchesServers, Write

T = TypeVar("T")

log = structlog.get_logger(__name__)


class HeadMoved(Exception):
    """The room's head is not the one that the commit was decided on: decide again."""


class TransactionKnown(Exception):
    """A client transaction id of the commit has been used already: look it up and decide again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WriterOptions:
    """Bounds of the writer. `reconnect_s_max`: how long callers wait for PostgreSQL to come back. `losses_max`: how
    often a batch may lose the connection before its units are tried alone, and one of them is given up."""

    units_per_commit_max: int = 500
    queue_length_max: int = 20_000
    reconnect_s_max: float = 10.0
    reconnect_interval_s: float = 0.2
    losses_max: int = 3


@dataclass(slots=True, eq=False)
class _Unit:
    work: "RoomCommit | Write[Any]"
    done: "asyncio.Future[Any]"

    def succeed(self, value: Any) -> None:
        if not self.done.done():
            self.done.set_result(value)

    def fail(self, error: BaseException) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(slots=True)
class _Attempt:
    """What a transaction took, needed to settle a COMMIT whose answer was lost. `with_savepoints`: a small write that
    is refused is undone alone, which costs two statements for each; `refused` are those of this attempt."""

    with_savepoints: bool = False
    nonce: int = field(default_factory=lambda: secrets.randbits(62))
    previous: int | None = None
    position: int = 0
    rooms: list[tuple[_Unit, PlacedCommit]] = field(default_factory=list)
    values: list[tuple[_Unit, Any]] = field(default_factory=list)
    refused: list[tuple[_Unit, MatrixError]] = field(default_factory=list)
    entry: CommitEntry | None = None


class _UnitsFail(Exception):
    """Some units of a batch can't be part of it; the transaction is rolled back and the rest tried again."""

    def __init__(self, units: Sequence[_Unit], error: Exception) -> None:
        super().__init__()
        self.units, self.error = units, error


class Writer:
    """Gathers units and commits them. `on_commit` is called with each entry in commit order; `on_reconnect` when there
    may be commits that were not told of. Of a restore `incarnations` tell, and call `on_restored`."""

    def __init__(
        self,
        database: Database,
        codec: Codec,
        options: WriterOptions | None = None,
    ) -> None:
        self._database = database
        self._codec = codec
        self._options = options or WriterOptions()
        self._queue: deque[_Unit] = deque()
        self._wake = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._away_since: float | None = None
        self.incarnations = Incarnations()
        self.on_restored = self.incarnations.on_restored
        self._nids = Nids(database, self.incarnations)
        self.on_restored.append(self._nids.drop)
        self.on_commit: Callable[[CommitEntry], None] = lambda entry: None
        self.on_reconnect: Callable[[], None] = lambda: None

    async def start(self) -> None:
        """Connect, settle the clock, and begin to commit."""
        await self._connect()
        self._task = asyncio.create_task(self._run(), name="writer")

    async def close(self) -> None:
        """Commit what is queued, then stop."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        await self._disconnect()

    @property
    def queue_length(self) -> int:
        """How many units wait to be committed."""
        return len(self._queue)

    async def write(self, write: Write[T]) -> T:
        """Join the next commit; what `write.store` returned, once committed."""
        value: T = await self._submit(write)
        return value

    async def commit_room(self, commit: RoomCommit) -> PlacedCommit:
        """Commit a room's decision; raises `HeadMoved` or `TransactionKnown` when it must be decided again, and
        `RoomInUse` where an alias of a new room is taken."""
        placed: PlacedCommit = await self._submit(commit)
        return placed

    def _submit(self, work: "RoomCommit | Write[Any]") -> "asyncio.Future[Any]":
        if self._closing or len(self._queue) >= self._options.queue_length_max:
            raise Unavailable("The server has too much to write; try again")
        unit = _Unit(work, asyncio.get_running_loop().create_future())
        self._queue.append(unit)
        self._wake.set()
        return unit.done

    async def take_nids(self, count: int) -> range:
        """`count` fresh nids, which no other process gets."""
        return await self._nids.take(count)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._queue:
                batch = [
                    self._queue.popleft() for _ in range(min(len(self._queue), self._options.units_per_commit_max))
                ]
                try:
                    await self._commit(batch)
                except MatrixError as error:
                    log.warning("the writer gave up a batch", units=len(batch), errcode=error.errcode)
                    _fail(batch, error)
                except Exception:
                    log.exception("the writer could not commit a batch", units=len(batch))
                    _fail(batch, Unavailable())
            if self._closing:
                return
            await self._stay_connected()

    async def _stay_connected(self) -> None:
        """Nobody waits: have a connection ready again soon after one was lost, also so that a restore is noticed."""
        if self._connection is not None and not self._connection.is_closed():
            return
        if self._connection is not None:
            log.warning("connection of the writer lost while nobody wrote")
        try:
            await self._connect()
        except CONNECTION_FAILURES:
            loop = asyncio.get_running_loop()
            self._away_since = self._away_since or loop.time()
            loop.call_later(self._options.reconnect_interval_s, self._wake.set)

    async def _commit(self, batch: list[_Unit]) -> None:
        losses, some_refused = 0, False
        while batch:
            attempt = _Attempt(with_savepoints=some_refused)
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._connect()
                await self._attempt(batch, attempt)
            except _UnitsFail as failure:
                _fail(failure.units, failure.error)
                batch = [unit for unit in batch if unit not in failure.units]
                some_refused = some_refused or isinstance(failure.error, MatrixError)
            except Exception as error:
                if self._connection is not None and not is_lost(self._connection, error):
                    await self._commit_one_by_one(batch, error)
                    return
                log.warning("connection of the writer lost", units=len(batch), **_reason_of(error))
                if await self._settle(attempt):
                    return
                losses += 1
                if losses >= self._options.losses_max:
                    await self._commit_one_by_one(batch, Unavailable())
                    return
            else:
                self._publish(attempt)
                return

    async def _commit_one_by_one(self, batch: list[_Unit], error: Exception) -> None:
        """What failed together is tried alone, so that only the bad unit fails."""
        if len(batch) > 1:
            for unit in batch:
                await self._commit([unit])
            return
        log.error("a write failed", kind=type(batch[0].work).__name__, error=type(error).__name__)
        batch[0].fail(Unavailable() if isinstance(error, OUT_OF_SERVICE) else error)

    async def _attempt(self, batch: list[_Unit], attempt: _Attempt) -> None:
        assert self._connection is not None
        tx = self._connection
        async with tx.transaction():
            rooms = [unit for unit in batch if isinstance(unit.work, RoomCommit)]
            await self._lock_rooms(tx, rooms)
            attempt.previous = await clock.lock_clock(tx)
            commits = [_room(unit) for unit in rooms]
            commits += [commit.replacement for commit in commits if commit.replacement is not None]
            placed, position = place(commits, attempt.previous)
            attempt.rooms = list(zip(rooms, placed, strict=False))
            attempt.position = max(position, attempt.previous + 1)
            if placed:
                await room_commits.store(tx, self._codec, placed)
                await write_open_rooms(tx, self._codec, placed)
            for unit in batch:
                if not isinstance(unit.work, RoomCommit):
                    await _store(tx, unit, unit.work, attempt)
            attempt.entry = _entry_of(attempt, placed, [unit for unit, _ in attempt.values])
            await clock.record_commit(
                tx, position=attempt.position, nonce=attempt.nonce, touched=encode_touched(attempt.entry)
            )

    async def _lock_rooms(self, tx: Connection, rooms: list[_Unit]) -> None:
        """Lock the rooms; check that each head is the one decided on, each transaction id new, each alias free."""
        if not rooms:
            return
        known = [unit for unit in rooms if _room(unit).expected_version is not None]
        versions = await lock_rooms(tx, [_room(unit).room_nid for unit in known])
        moved = [unit for unit in known if versions.get(_room(unit).room_nid) != _room(unit).expected_version]
        if moved:
            raise _UnitsFail(moved, HeadMoved())
        repeated = await room_commits.insert_transactions_of(tx, [_room(unit) for unit in rooms])
        if repeated:
            raise _UnitsFail([unit for unit in rooms if unit.work in repeated], TransactionKnown())
        taken = await write_names(tx, [_room(unit) for unit in rooms])
        if taken:
            raise _UnitsFail([unit for unit in rooms if unit.work in taken], RoomInUse())

    def _publish(self, attempt: _Attempt) -> None:
        assert attempt.entry is not None
        self.on_commit(attempt.entry)
        for unit, placed in attempt.rooms:
            unit.succeed(placed)
        for unit, value in attempt.values:
            unit.succeed(value)
        for unit, error in attempt.refused:
            unit.fail(error)

    async def _settle(self, attempt: _Attempt) -> bool:
        """After a lost connection: reconnect, and find out whether the commit happened. How long PostgreSQL may stay
        away counts from when it was first missed, so that those who come later don't wait as long again."""
        loop = asyncio.get_running_loop()
        self._away_since = self._away_since or loop.time()
        deadline = self._away_since + self._options.reconnect_s_max
        delay_s = 0.05
        while True:
            try:
                async with asyncio.timeout_at(max(deadline, loop.time() + 1.0)):
                    await self._connect()
                    committed = await self._was_committed(attempt)
                break
            except CONNECTION_FAILURES as error:
                if loop.time() > deadline:
                    raise Unavailable("The database can't be reached; try again") from error
            await asyncio.sleep(delay_s)
            delay_s = min(delay_s * 2, 1.0)
        if committed:
            self._publish(attempt)
        return committed

    async def _was_committed(self, attempt: _Attempt) -> bool:
        if attempt.entry is None:
            return False
        assert self._connection is not None
        async with self._connection.transaction():
            await clock.lock_clock(self._connection)
            return await clock.was_committed(self._connection, position=attempt.position, nonce=attempt.nonce)

    async def _connect(self) -> None:
        """Raises one of CONNECTION_FAILURES."""
        await self._disconnect()
        connection = await self._database.connect()
        try:
            await self.incarnations.settle(connection)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _connection: self._wake.set())
        self._connection = connection
        self._away_since = None
        self.on_reconnect()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*CONNECTION_FAILURES):
                await connection.close(timeout=2)


def _reason_of(error: Exception) -> dict[str, str]:
    """What a log may hold of it: what PostgreSQL says of data may name patients, what the client says does not."""
    is_of_client = isinstance(error, asyncpg.InterfaceError | asyncpg.InternalClientError)
    return {"error": type(error).__name__} | ({"reason": str(error)} if is_of_client else {})


def _fail(units: Sequence[_Unit], error: Exception) -> None:
    for unit in units:
        unit.fail(error)


async def _store(tx: Connection, unit: _Unit, write: Write[Any], attempt: _Attempt) -> None:
    """Carry out a small write. The first that is refused ends the attempt: few batches have any, so that savepoints are
    taken only in those that do."""
    try:
        if attempt.with_savepoints:
            async with tx.transaction():
                attempt.values.append((unit, await write.store(tx, attempt.position)))
        else:
            attempt.values.append((unit, await write.store(tx, attempt.position)))
    except MatrixError as error:
        if not attempt.with_savepoints:
            raise _UnitsFail([unit], error) from error
        attempt.refused.append((unit, error))


def _room(unit: _Unit) -> RoomCommit:
    assert isinstance(unit.work, RoomCommit)
    return unit.work


def _entry_of(attempt: _Attempt, placed: Sequence[PlacedCommit], writes: Sequence[_Unit]) -> CommitEntry:
    """The commit log's entry for what the transaction wrote."""
    users: dict[UserId, frozenset[str]] = {}
    servers: dict[ServerName, frozenset[str]] = {}
    facts = [fact for commit in placed for fact in commit.commit.facts]
    resets = {p.commit.room_nid for p in placed if p.commit.state_was_reset or p.commit.holes}
    for unit in writes:
        assert not isinstance(unit.work, RoomCommit)
        if isinstance(unit.work, TellsFacts):
            facts += unit.work.facts
        if isinstance(unit.work, TouchesServers):
            for server, streams in unit.work.servers.items():
                servers[server] = servers.get(server, frozenset()) | streams
        if isinstance(unit.work, ResetsRooms):
            resets.update(unit.work.resets)
        for user_id in unit.work.users:
            users[user_id] = users.get(user_id, frozenset()) | frozenset(unit.work.streams)
    for commit in placed:
        commit.rows = event_rows(commit)
        if commit.commit.state_was_reset:
            for change in commit.commit.memberships:
                users[change.user_id] = users.get(change.user_id, frozenset()) | {MEMBERSHIPS}
    assert attempt.previous is not None
    return CommitEntry(
        previous=attempt.previous,
        position=attempt.position,
        events={commit.commit.room_nid: commit.rows for commit in placed if commit.rows},
        facts=by_room(facts),
        users=users,
        owed=owed_by(placed),
        servers=servers,
        resets=frozenset(resets),
    )
