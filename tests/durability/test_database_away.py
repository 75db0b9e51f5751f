"""PostgreSQL is away, or does not move, for some seconds: requests fail quickly and clearly, and all recovers."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote

import aiohttp
import pytest

from tests.durability.form import AWAY_S
from tests.durability.load import Load, load_on
from tests.durability.site import run_site
from tim_server.storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.long

READ_S_MAX = 2.0
WRITE_S_MAX = 13.0
CHECK_S_MAX = 8.0
RECOVERY_S_MAX = 5.0


@asynccontextmanager
async def load_on_outer_postgres(folder: Path) -> AsyncIterator[tuple[Load, EmbeddedPostgres]]:
    """A load on a server that does not start its PostgreSQL itself."""
    with EmbeddedPostgres(folder / "data" / "postgresql") as postgres:
        dsn = await postgres.provision_tenant("hospital")
        async with run_site(folder, dsn=dsn) as site, load_on(site) as load:
            yield load, postgres


async def page(load: Load, path: str) -> tuple[int, float]:
    """Status of a page of the operators' listener, and the seconds it took."""
    began = asyncio.get_running_loop().time()
    url = f"http://127.0.0.1:{load.site.health_port}{path}"
    async with aiohttp.ClientSession() as session, session.get(url) as response:
        return response.status, asyncio.get_running_loop().time() - began


async def timed(load: Load, method: str, path: str, body: object = None) -> tuple[int, str | None, float]:
    """Status, errcode and seconds of a request."""
    began = asyncio.get_running_loop().time()
    status, answer = await load.api.request(load.senders[0].token, method, path, body)
    return status, answer.get("errcode"), asyncio.get_running_loop().time() - began


async def check_outage(load: Load) -> None:
    """What requests are told while PostgreSQL is away."""
    status, took_s = await page(load, "/ready")
    assert status == 503
    assert took_s < READ_S_MAX
    assert (await page(load, "/health"))[0] == 200
    room = f"/rooms/{quote(load.rooms[0])}"
    status, errcode, took_s = await timed(load, "GET", f"{room}/messages?dir=b")
    assert (status, errcode) == (503, "M_UNKNOWN")
    assert took_s < READ_S_MAX
    status, errcode, took_s = await timed(load, "PUT", f"{room}/send/org.example.note/outage{id(took_s)}", {})
    assert (status, errcode) in ((503, "M_UNKNOWN"), (200, None))  # it waits for PostgreSQL, which may come back
    assert took_s < WRITE_S_MAX


@pytest.mark.parametrize("away_s", AWAY_S)
async def test_postgresql_is_away(open_tmp_path: Path, away_s: float) -> None:
    async with load_on_outer_postgres(open_tmp_path / f"away-{away_s}") as (load, postgres):
        load.start()
        await asyncio.sleep(1)
        await asyncio.to_thread(postgres.stop)
        checking = asyncio.create_task(check_outage(load))
        await asyncio.sleep(away_s)
        await asyncio.to_thread(postgres.start)
        began = asyncio.get_running_loop().time()
        await load.site.wait_until_ready()
        sent = await load.senders[0].send(load.rooms[0], "after the outage")
        assert asyncio.get_running_loop().time() - began < RECOVERY_S_MAX
        await checking
        await load.repeat_recent()
        await load.stop()
        assert load.api.slowest_503_s < WRITE_S_MAX
        assert load.api.unavailable
        await load.judge()
        assert sent in await load.room_order(load.rooms[0])
        print(f"\nPostgreSQL away for {away_s:.0f} s: {load.figures()}")


async def test_postgresql_does_not_move(open_tmp_path: Path) -> None:
    async with load_on_outer_postgres(open_tmp_path / "frozen") as (load, _):
        load.start()
        await asyncio.sleep(1)
        frozen = load.site.postgres_pids()
        for pid in frozen:
            os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(1.5)
        assert (await page(load, "/health"))[0] == 200
        status, took_s = await page(load, "/ready")
        assert status == 503
        assert took_s < CHECK_S_MAX
        for pid in frozen:
            os.kill(pid, signal.SIGCONT)
        await load.site.wait_until_ready()
        await load.repeat_recent()
        await load.stop()
        await load.judge()
        print(f"\nPostgreSQL frozen: {load.figures()}")
