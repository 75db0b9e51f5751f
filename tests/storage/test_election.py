"""Elections: one process at a time holds a post, and loses it with its connection."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from tests.storage.cutting_proxy import CuttingProxy, cutting_proxy
from tim_server.background.elect import elected_loop
from tim_server.background.supervise import supervise
from tim_server.storage.database import Database, DatabaseOptions
from tim_server.storage.election import Elections, Tenure

POST = "send"


class Job:
    """Work that goes on until it is cancelled."""

    def __init__(self) -> None:
        self.began, self.ended = asyncio.Event(), asyncio.Event()
        self.was_lost = False

    async def __call__(self, tenure: Tenure) -> None:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.was_lost = tenure.is_lost
            self.ended.set()


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Losers ask again soon."""
    monkeypatch.setattr("tim_server.background.elect.STAND_INTERVAL_S", 0.05)


@pytest.fixture
async def here(tenant_dsn: str) -> AsyncIterator[Elections]:
    elections = Elections(Database(DatabaseOptions(dsn=tenant_dsn)))
    yield elections
    await elections.close()


@pytest.fixture
async def there(tenant_dsn: str) -> AsyncIterator[Elections]:
    """Another process."""
    elections = Elections(Database(DatabaseOptions(dsn=tenant_dsn)))
    yield elections
    await elections.close()


@pytest.fixture
async def proxy(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CuttingProxy]:
    async with cutting_proxy(tenant_dsn, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


async def test_one_process_holds_a_post_until_it_is_done(here: Elections, there: Elections) -> None:
    job, idle = Job(), Job()
    serving = asyncio.create_task(here.serve(POST, job))
    await job.began.wait()
    assert not await there.serve(POST, idle)
    serving.cancel()
    await asyncio.gather(serving, return_exceptions=True)
    assert job.ended.is_set() and not job.was_lost
    taken = asyncio.create_task(there.serve(POST, idle))
    await idle.began.wait()
    taken.cancel()


async def test_posts_are_independent_and_share_a_connection(here: Elections, there: Elections) -> None:
    jobs = {post: Job() for post in ("send", "push")}
    serving = [asyncio.create_task(here.serve(post, job)) for post, job in jobs.items()]
    for job in jobs.values():
        await job.began.wait()
    assert not await there.serve("push", Job())
    serving[0].cancel()
    await asyncio.gather(serving[0], return_exceptions=True)
    assert not await there.serve("push", Job())
    assert not jobs["push"].ended.is_set()
    serving[1].cancel()


async def test_a_lost_connection_ends_the_work_at_once_and_lets_another_in(
    proxy: CuttingProxy, there: Elections
) -> None:
    here, job, successor = Elections(Database(DatabaseOptions(dsn=proxy.dsn))), Job(), Job()
    serving = asyncio.create_task(here.serve(POST, job))
    await job.began.wait()
    proxy.cut_all()
    assert await serving
    assert job.was_lost
    async with asyncio.timeout(10):
        taken = asyncio.create_task(supervised(there, successor))
        await successor.began.wait()
    taken.cancel()
    await asyncio.gather(taken, return_exceptions=True)
    await here.close()


async def test_who_gets_no_answer_gives_up(proxy: CuttingProxy) -> None:
    here, job = Elections(Database(DatabaseOptions(dsn=proxy.dsn)), ping_interval_s=0.1), Job()
    serving = asyncio.create_task(here.serve(POST, job))
    await job.began.wait()
    proxy.stall = True
    async with asyncio.timeout(5):
        assert await serving
    assert job.was_lost
    await here.close()


async def test_tenants_are_elected_apart(here: Elections, make_tenant_dsn: Callable[[], Awaitable[str]]) -> None:
    other = Elections(Database(DatabaseOptions(dsn=await make_tenant_dsn())))
    jobs = (Job(), Job())
    serving = [asyncio.create_task(each.serve(POST, job)) for each, job in zip((here, other), jobs, strict=True)]
    for job in jobs:
        await job.began.wait()
    for task in serving:
        task.cancel()
    await asyncio.gather(*serving, return_exceptions=True)
    await other.close()


async def test_work_that_fails_frees_the_post(here: Elections, there: Elections) -> None:
    async def fail(_tenure: Tenure) -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await here.serve(POST, fail)
    job = Job()
    taken = asyncio.create_task(there.serve(POST, job))
    await job.began.wait()
    taken.cancel()


async def test_a_process_that_can_not_connect_stands_again(proxy: CuttingProxy) -> None:
    here, job = Elections(Database(DatabaseOptions(dsn=proxy.dsn))), Job()
    proxy.refuse = True
    running = asyncio.create_task(supervised(here, job))
    await asyncio.sleep(0.2)
    assert not job.began.is_set()
    proxy.refuse = False
    async with asyncio.timeout(10):
        await job.began.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await here.close()


async def supervised(elections: Elections, job: Job) -> None:
    """As the server runs it, but standing more often."""
    running = supervise([elected_loop(elections, POST, job)])
    try:
        await asyncio.Event().wait()
    finally:
        await running.stop()
