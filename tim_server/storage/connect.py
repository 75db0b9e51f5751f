"""One connection outside the pools: for migrations, provisioning and the command line."""

import asyncpg

CONNECT_TIMEOUT_S = 10.0


class DatabaseUnreachable(Exception):
    """PostgreSQL cannot be connected to. The message gives the reason, and neither the DSN nor the password."""


async def connect(dsn: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> "asyncpg.Connection[asyncpg.Record]":
    """A connection that the caller closes; raises `DatabaseUnreachable`."""
    try:
        return await asyncpg.connect(dsn, timeout=timeout_s, statement_cache_size=0)
    except (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        reason = str(error) or type(error).__name__
        raise DatabaseUnreachable(f"the database cannot be reached: {reason}") from error
