"""SIGKILL of servers while people upload, fetch another server's files and look at thumbnails: what was acknowledged is
there and whole, nothing that is not whole is ever served, nothing stays behind. With files in a folder, and in a bucket
whose store has troubles of its own."""

import asyncio
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.durability.across import config_in
from tests.durability.api import Api, make_session
from tests.durability.form import IS_SHORT, KILLS, LIFE_S
from tests.durability.site import Site, run_site
from tests.durability.uploads import FileUser, files_in, nothing_left_over
from tests.files import UPLOAD
from tests.hospitals import Network
from tests.s3 import run_s3
from tests.s3_gate import (
    Gate,
    Mishap,
    altered,
    broken_off,
    done_and_reset,
    refused,
    reset,
    run_gate,
    too_short,
)

pytestmark = pytest.mark.long

NAMES = ("north.example", "south.example")
BUCKET = "hospital-files"
MISHAPS = {
    "PUT": (refused(503, "SlowDown"), refused(500, "InternalError"), reset, done_and_reset),
    "GET": (refused(503, "SlowDown"), reset, broken_off, too_short, altered),
    "DELETE": (refused(500, "InternalError"), reset, done_and_reset),
}
MISHAP_SHARE = 0.15
REFUSALS = frozenset((429, 502, 503))
"""What may be answered amid all that: too much is under way, the other server or something of our own is away."""
LIES_FOUND = frozenset((500,))
PAUSES_S = (0.5, 0.05)
STOPS = 3 if IS_SHORT else 20
UPLOADERS = 4
PAUSE_S = 0.05


@dataclass(kw_only=True)
class Ward:
    """Somebody at each of two servers; those at the second fetch files of the first. `gate` is before its store."""

    north: FileUser
    south: FileUser
    gate: Gate | None

    def trouble(self) -> None:
        """From now on the store has troubles."""
        if self.gate is not None:
            self.gate.mishap_of = _at_random

    async def kill(self, number: int) -> None:
        """Kill a server, at times with its PostgreSQL or the store, and start all again."""
        site = (self.north if number % 4 == 3 else self.south).site
        with_store = self.gate is not None and number % 3 == 1
        if with_store:
            await self.gate.shut()
            await asyncio.sleep(random.uniform(*LIFE_S))
        await site.kill()
        if number % 3 == 2:
            site.kill_all_of_postgres()
        await site.start()
        if with_store:
            await self.gate.open()


def _at_random(method: str) -> Mishap | None:
    return random.choice(MISHAPS[method]) if random.random() < MISHAP_SHARE else None


@pytest.fixture(params=["folder", "bucket"])
async def ward(request: pytest.FixtureRequest, open_tmp_path: Path) -> AsyncIterator[Ward]:
    folder = open_tmp_path / f"uploads-{request.param}"
    folder.mkdir(mode=0o711)
    network = Network.of(folder, NAMES)
    async with AsyncExitStack() as stack:
        gate = await stack.enter_async_context(_gate()) if request.param == "bucket" else None
        options = [{}, {} if gate is None else {"s3": gate.s3.options(BUCKET)}]
        session = await stack.enter_async_context(make_session())
        users = []
        for name, media_store, pause_s in zip(NAMES, options, PAUSES_S, strict=True):

            def config(site: Site, name: str = name, media_store: Any = media_store) -> dict[str, Any]:
                return {**config_in(network, name, site), "media_store": media_store}

            site = await stack.enter_async_context(run_site(folder / name, config=config))
            account = await Api(session, base_url=site.base_url).register("alice")
            users.append(FileUser(site=site, account=account, refusals=REFUSALS, pause_s=pause_s))
        north, south = users
        south.of_others = north.acknowledged
        yield Ward(north=north, south=south, gate=gate)


@asynccontextmanager
async def _gate() -> AsyncIterator[Gate]:
    async with run_s3() as s3, run_gate(s3) as gate:
        await s3.make_bucket(BUCKET)
        yield gate


async def test_servers_are_killed_while_people_use_files(ward: Ward) -> None:
    users = (ward.north, ward.south)
    tasks = [task for user in users for task in user.all_day()]
    ward.trouble()
    if ward.gate is not None:
        ward.south.refusals |= LIES_FOUND
    for number in range(KILLS):
        await asyncio.sleep(random.uniform(*LIFE_S) * 2)
        await ward.kill(number)
    for task in tasks:
        assert not task.done(), task.exception()
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    if ward.gate is not None:
        ward.gate.will({})
    left_over = [await nothing_left_over(user.site) for user in users]
    for user in users:
        user.refusals = REFUSALS
        await user.judge()
        print(f"\n{user.site.folder.name}: {len(user.acknowledged)} acknowledged, {dict(sorted(user.seen.items()))}")
    await ward.south.judge_quota()
    print(f"{KILLS} kills; objects that were left over and removed: {left_over}")


async def test_stopping_breaks_off_uploads_without_a_trace(open_tmp_path: Path) -> None:
    """Stopped as an operator does it, with uploads that do not end: the exit code is right each time, and nothing is
    left of them."""
    async with run_site(open_tmp_path / "stopped") as site, make_session() as session:
        site.extra_settings = {"TIM_SERVER__LIMITS__SHUTDOWN_TIMEOUT_S": "0.2"}
        account = await Api(session, base_url=site.base_url).register("alice")
        for _ in range(STOPS):
            await site.stop()
            await site.start()
            tasks = [asyncio.create_task(_upload_slowly(session, site, account.token)) for _ in range(UPLOADERS)]
            await asyncio.sleep(0.5)
            await site.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert files_in(site.folder / "data" / "media") == set()
            await site.start()


async def _upload_slowly(session: aiohttp.ClientSession, site: Site, token: str) -> None:
    """An upload that goes on for longer than anybody waits."""

    async def chunks() -> AsyncIterator[bytes]:
        while True:
            yield secrets.token_bytes(300_000)
            await asyncio.sleep(PAUSE_S)

    with suppress(aiohttp.ClientError, OSError):
        await session.post(site.base_url + UPLOAD, data=chunks(), headers={"Authorization": f"Bearer {token}"})
