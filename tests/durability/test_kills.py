"""SIGKILL of the server, and of PostgreSQL, under load: nothing acknowledged is lost, and no client misses an event or
is told of one twice."""

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.durability.form import KILLS, LIFE_S
from tests.durability.load import Load, load_on
from tests.durability.site import run_site

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
async def load(request: pytest.FixtureRequest, open_tmp_path: Path) -> AsyncIterator[Load]:
    """A load on a server whose embedded PostgreSQL writes to the disk what it acknowledges."""
    folder = open_tmp_path / f"kills-{request.param}"
    async with run_site(folder, worker_count=request.param) as site, load_on(site) as load:
        yield load


async def test_the_server_is_killed(load: Load) -> None:
    load.start()
    for number in range(KILLS):
        await asyncio.sleep(random.uniform(*LIFE_S))
        load.check()
        await load.site.kill()
        if number % 3 == 2:  # as if the machine had failed
            load.site.kill_all_of_postgres()
        await load.site.start()
        await load.repeat_recent()
    await load.stop()
    await load.judge()
    print(f"\n{KILLS} kills of the server ({load.site.worker_count} workers), in all: {load.figures()}")


async def test_postgresql_is_killed(load: Load) -> None:
    ways = (load.site.kill_postgres, load.site.kill_a_backend, load.site.kill_all_of_postgres)
    load.start()
    for number in range(KILLS):
        await asyncio.sleep(random.uniform(*LIFE_S))
        load.check()
        ways[number % 3]()
        await load.site.wait_until_ready()
        await load.repeat_recent()
    await load.stop()
    await load.judge()
    print(f"\n{KILLS} kills of PostgreSQL ({load.site.worker_count} workers), in all: {load.figures()}")


async def test_a_backend_is_killed_in_commit(load: Load) -> None:
    hits = 0
    load.start()
    for _ in range(KILLS):
        hits += await load.site.kill_backend_in_commit()
        await load.site.wait_until_ready()
        await load.repeat_recent()
        load.check()
    await load.stop()
    await load.judge()
    print(f"\n{hits} of {KILLS} kills in COMMIT ({load.site.worker_count} workers), in all: {load.figures()}")
    assert hits


@pytest.mark.parametrize("load", [2], indirect=True, ids=["two workers"])
async def test_a_worker_is_killed_and_the_other_goes_on(load: Load) -> None:
    load.start()
    for _ in range(2):  # a parent gives up a worker that keeps dying
        await asyncio.sleep(random.uniform(*LIFE_S))
        load.site.kill_a_worker()
        await load.repeat_recent()
        load.check()
    await load.site.wait_until_ready()
    await load.stop()
    await load.judge()
