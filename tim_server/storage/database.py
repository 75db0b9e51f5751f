"""The connections to one tenant's PostgreSQL schema.

A tenant's role owns a schema of the same name and sees no other; every connection carries it as its search path. Reads
go through a pool; the writer and the commit log's tail own a direct connection each (a pooler such as pgbouncer in
transaction mode may stand between the pool and PostgreSQL, but never before those two).
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

import asyncpg

PING = "SELECT 1"

Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record] | asyncpg.pool.PoolConnectionProxy[asyncpg.Record]"
DatabaseError = asyncpg.PostgresError
DuplicateKey = asyncpg.UniqueViolationError
CONNECTION_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    OSError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseOptions:
    """Where the schema is, and how many connections reads may take.

    `direct_dsn` is used by the writer and for LISTEN; `pooler` says that `dsn` leads to a transaction pooler, which
    knows no prepared statements.
    """

    dsn: str
    direct_dsn: str | None = None
    pool_size_max: int = 8
    pooler: bool = False
    command_timeout_s: float = 60.0


def schema_of(dsn: str) -> str:
    """The schema of the role that the DSN names: a schema has the name of its owner."""
    return unquote(urlsplit(dsn).username or "")


async def _keep_session_as_it_is(_connection: Any) -> None:
    """Nothing in a read connection's session changes, so a released connection needs no reset (and no round trip)."""


class Database:
    """Pooled reads and small transactions in one schema."""

    def __init__(self, options: DatabaseOptions) -> None:
        self.options = options
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None

    async def open(self) -> None:
        """Open the pool; raises OSError or `DatabaseError` when PostgreSQL can't be reached."""
        self._pool = await asyncpg.create_pool(
            self.options.dsn,
            min_size=1,
            max_size=self.options.pool_size_max,
            command_timeout=self.options.command_timeout_s,
            statement_cache_size=0 if self.options.pooler else 200,
            server_settings=_session_settings(self.options.dsn),
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
        async with self._open_pool.acquire() as connection:
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
            self._open_pool.acquire() as connection,
            connection.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield connection

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """A connection outside any transaction, for a read of one statement."""
        async with self._open_pool.acquire() as connection:
            yield connection

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A connection in a READ COMMITTED transaction, for writes that need no clock position."""
        async with self._open_pool.acquire() as connection, connection.transaction():
            yield connection

    async def connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        """A direct connection that belongs to the caller: for the writer, for LISTEN, for elections."""
        dsn = self.options.direct_dsn or self.options.dsn
        return await asyncpg.connect(
            dsn, command_timeout=self.options.command_timeout_s, server_settings=_session_settings(dsn)
        )


def _session_settings(dsn: str) -> dict[str, str]:
    return {"search_path": f'"{schema_of(dsn)}"', "application_name": "tim-server", "jit": "off"}
