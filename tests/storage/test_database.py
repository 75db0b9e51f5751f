"""The pool: what callers are told while PostgreSQL can't be reached, and that all goes on afterwards."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from tests.storage.cutting_proxy import CuttingProxy, Moment, cutting_proxy
from tim_server.matrix.errors import Forbidden, Unavailable
from tim_server.storage.database import Database, DatabaseError, DatabaseOptions

POOL_SIZE = 3


@pytest.fixture(scope="module")
async def proxy(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CuttingProxy]:
    """What stands between the pool and PostgreSQL."""
    async with cutting_proxy(tenant_dsn, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
async def cut_database(proxy: CuttingProxy) -> AsyncIterator[Database]:
    """A pool that leads through the proxy; with connections, once each."""
    proxy.cuts.clear()
    proxy.refuse = proxy.stall = False
    database = Database(DatabaseOptions(dsn=proxy.dsn, pool_size_max=POOL_SIZE, connect_timeout_s=1.0))
    await database.open()
    await asyncio.gather(*(one(database) for _ in range(POOL_SIZE)))
    yield database
    proxy.refuse = proxy.stall = False
    await database.close()


async def one(database: Database) -> int:
    """Read a number, and let others read meanwhile."""
    async with database.read() as tx:
        await tx.execute("SELECT pg_sleep(0.01)")
        number: int = await tx.fetchval("SELECT 1")
    return number


async def test_who_asks_while_nothing_listens_is_told_at_once(cut_database: Database, proxy: CuttingProxy) -> None:
    proxy.refuse = True
    proxy.cut_all()
    for ask in (cut_database.read, cut_database.connection, cut_database.transaction):
        async with asyncio.timeout(0.5):
            with pytest.raises(Unavailable):
                async with ask() as tx:
                    await tx.fetchval("SELECT 1")
    with pytest.raises(Unavailable):
        await cut_database.ping()
    proxy.refuse = False
    assert await asyncio.gather(*(one(cut_database) for _ in range(10))) == [1] * 10


@pytest.mark.parametrize("statement", ["BEGIN", "'lost'", "COMMIT"])
@pytest.mark.parametrize("moment", list(Moment))
async def test_a_connection_that_is_lost_in_use(
    cut_database: Database, proxy: CuttingProxy, statement: str, moment: Moment
) -> None:
    for _ in range(2 * POOL_SIZE):
        proxy.cut(statement, moment)
        with pytest.raises(Unavailable):
            async with cut_database.transaction() as tx:
                await tx.execute("SELECT 'lost'")
    assert await asyncio.gather(*(one(cut_database) for _ in range(10))) == [1] * 10


@pytest.mark.parametrize("sqlstate", ["53100", "57014", "58030", "25006"])
async def test_a_postgresql_that_can_not_serve_now(cut_database: Database, sqlstate: str) -> None:
    with pytest.raises(Unavailable):
        async with cut_database.transaction() as tx:
            await tx.execute(f"DO $$ BEGIN RAISE EXCEPTION SQLSTATE '{sqlstate}'; END $$")
    assert await one(cut_database) == 1


async def test_other_errors_stay_what_they_are(cut_database: Database) -> None:
    with pytest.raises(DatabaseError, match="division by zero"):
        async with cut_database.read() as tx:
            await tx.fetchval("SELECT 1 / 0")
    with pytest.raises(DatabaseError, match="cannot be interpreted"):
        async with cut_database.connection() as tx:
            await tx.fetchval("SELECT $1::bigint", "one")
    with pytest.raises(Forbidden):
        async with cut_database.transaction():
            raise Forbidden("no")
    assert await one(cut_database) == 1


async def test_an_answer_that_does_not_come_is_given_up(cut_database: Database, proxy: CuttingProxy) -> None:
    loop = asyncio.get_running_loop()
    began = loop.time()
    proxy.stall = True
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await cut_database.ping()
    assert loop.time() - began < 4
    proxy.stall = False
    proxy.cut_all()
    await asyncio.sleep(0.05)
    assert await one(cut_database) == 1


async def test_who_waits_too_long_for_a_connection_is_told_so(cut_database: Database) -> None:
    async with cut_database.read(), cut_database.read(), cut_database.read():
        with pytest.raises(Unavailable):
            await one(cut_database)
    assert await one(cut_database) == 1


async def test_a_pooler_is_asked_for_no_session_settings(tenant_dsn: str) -> None:
    database = Database(DatabaseOptions(dsn=tenant_dsn, direct_dsn=tenant_dsn, pooler=True))
    await database.open()
    async with database.connection() as tx:
        rows = await tx.fetch("SELECT name FROM pg_settings WHERE source = 'client' ORDER BY name")
        assert await tx.fetchval("SELECT count(*) FROM commits") == 0
    assert [row["name"] for row in rows] == ["application_name", "client_encoding"]
    await database.close()


async def test_a_statement_that_is_given_up_before_it_is_executed_harms_no_one(
    tenant_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """asyncpg prepares a statement without ending the implicit transaction that PostgreSQL opens for it."""
    database = Database(DatabaseOptions(dsn=tenant_dsn, pool_size_max=1))
    await database.open()
    prepare = asyncpg.Connection._get_statement

    async def prepare_and_give_up(*args: Any, **options: Any) -> Any:
        statement = await prepare(*args, **options)
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(0)
        return statement

    async def read() -> None:
        async with database.connection() as connection:
            await connection.fetchval("SELECT count(*) FROM rooms")

    try:
        with monkeypatch.context() as patched:
            patched.setattr(asyncpg.Connection, "_get_statement", prepare_and_give_up)
            with pytest.raises(asyncio.CancelledError):
                await asyncio.create_task(read())
        assert await one(database) == 1
    finally:
        await database.close()
