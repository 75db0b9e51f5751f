"""The connections to one tenant's PostgreSQL schema.

A tenant's role owns a schema of the same name and sees no other; every connection carries it as its search path. Reads
go through a pool; the writer and the commit log's tail own a direct connection each (a pooler such as pgbouncer in
transaction mode may stand between the pool and PostgreSQL, but never before those two).

While PostgreSQL can't be reached, whoever asks the pool is told `Unavailable` (503), and at once where nothing listens.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg

from tim_server.matrix.errors import Unavailable

PING = "SELECT 1"
RELEASE_TIMEOUT_S = 2.0
APPLICATION = {"application_name": "tim-server"}

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
DatabaseError = asyncpg.PostgresError
DuplicateKey = asyncpg.UniqueViolationError
CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
)
OUT_OF_SERVICE = (
    asyncpg.InsufficientResourcesError,  # such as a full disk
    asyncpg.OperatorInterventionError,
    asyncpg.PostgresSystemError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""PostgreSQL can't do now what it is asked for, whatever that is."""
CONNECTION_FAILURES = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
"""Whatever a connection may raise; where there is none yet, each of them says that none can be had."""

DIRECT_SESSION_SETTINGS = {
    "idle_in_transaction_session_timeout": "60s",
    "tcp_keepalives_idle": "10",
    "tcp_keepalives_interval": "5",
    "tcp_keepalives_count": "3",
    "tcp_user_timeout": "30s",
}
"""PostgreSQL soon gives up the locks, the clock's above all, of a process that has vanished without a word."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """Where the schema is, and how many connections reads may take.

    `direct_dsn` is used by the writer and for LISTEN; `pooler` says that `dsn` leads to a transaction pooler, which
    knows no prepared statements. `connect_timeout_s` bounds the wait for a connection, new or from the pool.
    """

    dsn: str
    direct_dsn: str | None = None
    pool_size_max: int = 8
    pooler: bool = False
    command_timeout_s: float = 60.0
    connect_timeout_s: float = 10.0


def is_lost(connection: Connection, error: BaseException) -> bool:
    """Whether the error means that the connection is gone; a complaint about data or about its use does not."""
    if isinstance(error, CONNECTION_LOST):
        return True
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # the pool has taken it back, as it does with those that are closed
        return True


def schema_of(dsn: str) -> str:
    """The schema of the role that the DSN names: a schema has the name of its owner."""
    return unquote(urlsplit(dsn).username or "")


async def _keep_session_as_it_is(_connection: Any) -> None:
    """Nothing in a read connection's session changes, so a released connection needs no reset (and no round trip)."""


async def _end_what_was_given_up(connection: Connection) -> None:
    """asyncpg prepares a statement without a Sync: given up before it is executed, it leaves an implicit transaction
    open, of which asyncpg knows nothing, and in which whoever gets the connection next could begin none. Any simple
    query ends it. A connection that does not answer is cut."""
    with suppress(*CONNECTION_FAILURES):
        try:
            async with asyncio.timeout(RELEASE_TIMEOUT_S):
                await connection.execute(PING)
        except TimeoutError:
            connection.terminate()


class Database:
    """Pooled reads and small transactions in one schema."""

    def __init__(self, options: DatabaseOptions) -> None:
        self.options = options
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Open the pool, which connects when somebody asks."""
        self._pool = await asyncpg.create_pool(
            self.options.dsn,
            min_size=0,  # asyncpg would write a trace into the log for each attempt to keep more
            max_size=self.options.pool_size_max,
            command_timeout=self.options.command_timeout_s,
            timeout=self.options.connect_timeout_s,
            statement_cache_size=0 if self.options.pooler else 200,
            # A pooler refuses settings that it does not know; the role carries its search path itself.
            server_settings=APPLICATION if self.options.pooler else _session_settings(self.options.dsn),
            reset=_keep_session_as_it_is,
        )

    async def close(self) -> None:
        """Close the pool; running statements are given a moment, then cut."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            try:
                async with asyncio.timeout(5):
                    await pool.close()
            except TimeoutError:
                pool.terminate()

    async def ping(self) -> None:
        """Raises unless the database answers."""
        async with self.connection() as connection:
            await connection.execute(PING)

    @property
    def _open_pool(self) -> "asyncpg.Pool[asyncpg.Record]":
        if self._pool is None:
            raise RuntimeError("the database is not open")
        return self._pool

    @asynccontextmanager
    async def read(self) -> AsyncIterator[Connection]:
        """A connection in a REPEATABLE READ, READ ONLY transaction: every statement sees the same moment."""
        async with (
            self.connection() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a READ COMMITTED transaction, for writes that need no clock position."""
        async with self.connection() as connection, connection.transaction():
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction, for a read of one statement. Like `read` and `transaction` it raises
        `Unavailable` where PostgreSQL can't be reached, or is lost meanwhile."""
        pool = self._open_pool
        try:
            async with asyncio.timeout(self.options.connect_timeout_s):
                connection = await pool.acquire()
        except CONNECTION_FAILURES as error:
            raise Unavailable() from error
        try:
            yield connection
        except asyncio.CancelledError:
            await _end_what_was_given_up(connection)
            raise
        except CONNECTION_FAILURES as error:
            if isinstance(error, OUT_OF_SERVICE) or is_lost(connection, error):
                raise Unavailable() from error
            raise
        finally:
            with suppress(TimeoutError):  # a statement that is given up may not be waited for either
                await pool.release(connection, timeout=RELEASE_TIMEOUT_S)

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A direct connection that belongs to the caller: for the writer, for LISTEN, for elections."""
        dsn = self.options.direct_dsn or self.options.dsn
        return await asyncpg.connect(
            dsn,
            timeout=self.options.connect_timeout_s,
            command_timeout=self.options.command_timeout_s,
            server_settings=_session_settings(dsn) | DIRECT_SESSION_SETTINGS,
        )


# All queries go along an index. A planner that knows little of a young table would rather collect a whole room by
# bitmap and sort it than walk the index backwards for ten events.
_PLANNER_SETTINGS = {"jit": "off", "enable_bitmapscan": "off"}


def _session_settings(dsn: str) -> dict[str, str]:
    return {"search_path": f'"{schema_of(dsn)}"', **APPLICATION, **_PLANNER_SETTINGS}
