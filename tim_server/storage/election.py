"""Elections: of all processes of a homeserver one holds a post, for as long as its connection to PostgreSQL lives.

A post is an advisory lock of a session, on a direct connection that belongs to the elections of the process; its key
names the tenant's schema. Whoever holds a post asks the connection every few seconds whether it is still there. A
holder that is cut off so gives up long before PostgreSQL does (`DIRECT_SESSION_SETTINGS`) and lets another one in.

Losers ask again from time to time: to wait within PostgreSQL would hold a transaction open, which keeps dead rows.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

import asyncpg
import structlog

from tim_server.storage.database import CONNECTION_FAILURES, PING, Database

TRY_TO_HOLD = "SELECT pg_try_advisory_lock(hashtextextended(current_schema()::text || ' ' || $1, 1414090033))"
GIVE_UP = "SELECT pg_advisory_unlock(hashtextextended(current_schema()::text || ' ' || $1, 1414090033))"

PING_INTERVAL_S = 5.0

log = structlog.get_logger(__name__)


class Tenure:
    """A post that is held. `is_lost`: another process may hold it by now."""

    def __init__(self) -> None:
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def is_lost(self) -> bool:
        """Whether the connection is gone that holds the post."""
        return self._lost.done()

    def lose(self) -> None:
        """The connection is gone."""
        if not self._lost.done():
            self._lost.set_result(None)

    async def until_lost(self) -> None:
        """Wait for the end."""
        await asyncio.shield(self._lost)


class Elections:
    """What one process stands for; all its posts share a connection, made when the first is wanted."""

    def __init__(self, database: Database, *, ping_interval_s: float = PING_INTERVAL_S) -> None:
        self._database = database
        self._ping_interval_s = ping_interval_s
        self._connection: asyncpg.Connection[asyncpg.Record] | None = None
        self._one_at_a_time = asyncio.Lock()
        self._tenures: dict[Tenure, object] = {}
        self._pinging: asyncio.Task[None] | None = None

    async def serve(self, post: str, work: Callable[[Tenure], Awaitable[None]]) -> bool:
        """Do the work while this process holds the post; False at once where another one does.

        The work is cancelled when the connection is lost. Raises what the work raises, or one of CONNECTION_FAILURES.
        """
        tenure = Tenure()
        connection = await self._hold(post, tenure)
        if connection is None:
            return False
        log.info("this process is elected", post=post)
        task, lost = asyncio.ensure_future(work(tenure)), asyncio.ensure_future(tenure.until_lost())
        try:
            await asyncio.wait({task, lost}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                await task
            else:
                log.warning("the connection that held a post was lost", post=post)
        finally:
            lost.cancel()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self._give_up(post, tenure, connection)
        return True

    async def close(self) -> None:
        """Give up all posts."""
        if self._pinging is not None:
            self._pinging.cancel()
            await asyncio.gather(self._pinging, return_exceptions=True)
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(*CONNECTION_FAILURES):
                await connection.close(timeout=2)

    async def _hold(self, post: str, tenure: Tenure) -> "asyncpg.Connection[asyncpg.Record] | None":
        """The connection that now holds the post; None where another process does."""
        async with self._one_at_a_time:
            connection = await self._connect()
            if not await connection.fetchval(TRY_TO_HOLD, post):
                return None
            if connection.is_closed():
                raise ConnectionError("the connection was lost when it held a post")
            self._tenures[tenure] = connection
        if self._pinging is None or self._pinging.done():
            self._pinging = asyncio.create_task(self._ping(), name="elections")
        return connection

    async def _give_up(self, post: str, tenure: Tenure, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._tenures.pop(tenure, None)
        if tenure.is_lost:
            return
        async with self._one_at_a_time:
            try:
                async with asyncio.timeout(self._ping_interval_s):
                    await connection.execute(GIVE_UP, post)
            except (TimeoutError, *CONNECTION_FAILURES):
                connection.terminate()

    async def _connect(self) -> "asyncpg.Connection[asyncpg.Record]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await self._database.connect()
            self._connection.add_termination_listener(self._is_lost)
        return self._connection

    def _is_lost(self, connection: object) -> None:
        for tenure, of_tenure in list(self._tenures.items()):
            if of_tenure is connection:
                del self._tenures[tenure]
                tenure.lose()

    async def _ping(self) -> None:
        """Ask whether the connection is still there; one that does not answer is cut."""
        while self._tenures:
            await asyncio.sleep(self._ping_interval_s)
            async with self._one_at_a_time:
                connection = self._connection
                if connection is None or connection.is_closed():
                    continue
                try:
                    async with asyncio.timeout(self._ping_interval_s):
                        await connection.execute(PING)
                except (TimeoutError, *CONNECTION_FAILURES):
                    connection.terminate()
