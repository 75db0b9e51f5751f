"""Follows the commit log: fills the tail in memory, and tells other processes to look at theirs.

NOTIFY is sent after the commit, on a connection of its own that does not wait for the disk, and many commits share one.
It is only a hint: the follower also looks by itself from time to time, and whenever its connection comes back.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

import asyncpg
import structlog

from tim_server.matrix.errors import Unavailable
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry, CommitLog, read_entries, read_newest_position
from tim_server.storage.database import CONNECTION_FAILURES, Database, schema_of

ENTRIES_PER_READ = 1_000
RETRY_INTERVAL_S = 0.2

NOTIFY = "SELECT pg_notify($1, '')"

log = structlog.get_logger(__name__)


class CommitFollower:
    """Keeps one `CommitLog` up to date. `poll_s` bounds how long a lost hint goes unnoticed.

    `alone` says that no other process is expected, so that the tail is never behind; it holds until one is heard, as of
    another machine: each announces itself when it connects. `on_trimmed` is given the newest position when commits that
    the tail lacks are no longer there to be read.
    """

    def __init__(
        self, database: Database, codec: Codec, commit_log: CommitLog, *, poll_s: float = 15.0, alone: bool = False
    ) -> None:
        self._database = database
        self._codec = codec
        self._log = commit_log
        self._poll_s = poll_s
        self._alone = alone
        self._channel = "commits_" + schema_of(database.options.dsn)
        self._look = asyncio.Event()
        self._notify = asyncio.Event()
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._catching_up: asyncio.Task[None] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._is_failing = False
        self.on_trimmed: Callable[[int], None] = commit_log.start_at

    async def start(self) -> None:
        """Begin at the newest position."""
        await self._connect()
        async with self._database.connection() as connection:
            self._log.start_at(await read_newest_position(connection))
        self._tasks = [
            asyncio.create_task(self._follow(), name="commit-follower"),
            asyncio.create_task(self._announce(), name="commit-announcer"),
        ]

    async def close(self) -> None:
        """Stop following."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._disconnect()

    def committed(self, entry: CommitEntry) -> None:
        """This process committed `entry`: append it, or read what is missing before it; tell the others."""
        if not self._log.append(entry):
            self._look.set()
        self._notify.set()

    @property
    def is_alone(self) -> bool:
        """Whether no other process has been heard of."""
        return self._alone

    def look(self) -> None:
        """There may be commits that nobody told of: read them soon."""
        self._look.set()

    async def catch_up(self) -> None:
        """Read what the tail lacks up to now. Concurrent callers share one read; a read that began earlier does not
        count, since it may have missed the newest commit. Raises `Unavailable`."""
        is_reading = self._catching_up is not None and not self._catching_up.done()
        if self._alone and not is_reading and not self._look.is_set():
            return
        await self._catch_up()

    async def _catch_up(self) -> None:
        earlier = self._catching_up
        if earlier is not None and not earlier.done():
            with contextlib.suppress(Exception):
                await asyncio.shield(earlier)
        if self._catching_up is earlier:  # nobody else has begun to read since
            self._catching_up = asyncio.create_task(self._read_missing())
            self._catching_up.add_done_callback(_look_at_error)
        assert self._catching_up is not None
        await asyncio.shield(self._catching_up)

    async def _read_missing(self) -> None:
        while True:
            async with self._database.read() as tx:
                read = await read_entries(tx, self._codec, self._log.position, limit=ENTRIES_PER_READ)
                newest = await read_newest_position(tx) if read.trimmed else 0
            if read.trimmed:
                log.warning("this process has fallen behind the commit log; what it remembers is dropped")
                self.on_trimmed(newest)
            for entry in read.entries:
                self._log.append(entry)
            if not read.more:
                return

    async def _follow(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._poll_s):
                    await self._look.wait()
            self._look.clear()
            try:
                if self._connection is None or self._connection.is_closed():
                    await self._connect()
                await self._catch_up()
                self._is_failing = False
            except Exception as error:
                self._report(error)
                await asyncio.sleep(RETRY_INTERVAL_S)
                self._look.set()

    def _report(self, error: Exception) -> None:
        """Once for each time that following begins to fail."""
        if self._is_failing:
            return
        self._is_failing = True
        if isinstance(error, (Unavailable, *CONNECTION_FAILURES)):
            log.warning("the commit log can't be followed now", error=type(error).__name__)
        else:
            log.error("the commit log can't be followed", exc_info=error)

    async def _announce(self) -> None:
        while True:
            await self._notify.wait()
            self._notify.clear()
            if self._connection is not None:
                try:
                    await self._connection.execute(NOTIFY, self._channel)
                except CONNECTION_FAILURES:
                    self._look.set()  # which connects again, and then announces

    async def _connect(self) -> None:
        await self._disconnect()
        connection = await self._database.connect()
        try:
            await connection.execute("SET synchronous_commit = off")
            await connection.add_listener(self._channel, self._hear)
        except BaseException:
            connection.terminate()
            raise
        connection.add_termination_listener(lambda _connection: self._look.set())
        self._connection = connection
        self._notify.set()  # what was to be announced meanwhile

    def _hear(self, _connection: Any, pid: int, _channel: str, _payload: object) -> None:
        if self._connection is None or pid != self._connection.get_server_pid():
            self._alone = False
            self._look.set()

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*CONNECTION_FAILURES):
                await connection.close(timeout=2)


def _look_at_error(task: "asyncio.Task[None]") -> None:
    """An error is told to those who wait; where nobody does any more, asyncio need not complain."""
    if not task.cancelled():
        task.exception()
