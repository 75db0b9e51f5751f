"""SIGKILL during uploads: what was acknowledged is there and whole, nothing that is not whole is ever served, and
whatever is left on disk is noted for removal."""

import asyncio
import hashlib
import random
import secrets
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from tests.durability.api import Account, Api, Away, make_session
from tests.durability.form import IS_SHORT, KILLS, LIFE_S
from tests.durability.site import Site, run_site
from tests.files import DOWNLOAD, MIB, UPLOAD

pytestmark = pytest.mark.long

UPLOADERS = 4
SIZE_BYTES_MAX = 8 * MIB
PAUSE_S = 0.05
STOPS = 3 if IS_SHORT else 20


@dataclass(kw_only=True)
class Uploads:
    """Users who upload all the time. `acknowledged` has the hash of each file that the server has given an address."""

    site: Site
    account: Account
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    broken_off: int = 0

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.account.token}"}

    async def go_on(self) -> None:
        """Upload until cancelled, whether or not somebody answers."""
        while True:
            content = secrets.token_bytes(random.randint(0, SIZE_BYTES_MAX))
            try:
                await self._upload(content)
            except (aiohttp.ClientError, OSError):
                self.broken_off += 1
            await asyncio.sleep(PAUSE_S)

    async def upload_slowly(self) -> None:
        """An upload that goes on for longer than anybody waits."""

        async def chunks() -> AsyncIterator[bytes]:
            while True:
                yield secrets.token_bytes(300_000)
                await asyncio.sleep(PAUSE_S)

        url = self.site.base_url + UPLOAD
        with suppress(aiohttp.ClientError, OSError):
            await self.account.api.session.post(url, data=chunks(), headers=self.headers)

    async def _upload(self, content: bytes) -> None:
        url = self.site.base_url + UPLOAD
        async with self.account.api.session.post(url, data=content, headers=self.headers) as response:
            if response.status == 200:
                uri = (await response.json())["content_uri"]
                self.acknowledged[uri.removeprefix("mxc://")] = hashlib.sha256(content).digest()

    async def hash_of(self, file: str) -> bytes:
        """The hash of what is downloaded."""
        url = f"{self.site.base_url}{DOWNLOAD}/{file}"
        async with self.account.api.session.get(url, headers=self.headers) as response:
            assert response.status == 200, (file, response.status)
            return hashlib.sha256(await response.read()).digest()

    async def judge(self) -> None:
        """What must hold."""
        for file, digest in self.acknowledged.items():
            assert await self.hash_of(file) == digest
        rows = await self.site.fetch("SELECT server_name || '/' || media_id AS file, object_name, sha256 FROM media")
        for row in rows:  # also what was stored, but never acknowledged
            assert await self.hash_of(row["file"]) == row["sha256"]
        leftovers = await self.site.fetch("SELECT object_name FROM media_leftovers")
        known = {row["object_name"] for row in (*rows, *leftovers)}
        assert {name.partition("#")[0] for name in self.on_disk()} <= known

    def on_disk(self) -> set[str]:
        """Names of all objects, and of those that were begun."""
        (folder,) = (self.site.folder / "data" / "media").iterdir()
        return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


async def test_uploads_are_killed(open_tmp_path: Path) -> None:
    async with run_site(open_tmp_path / "uploads", worker_count=1) as site, make_session() as session:
        account = await _register(Api(session, base_url=site.base_url))
        uploads = Uploads(site=site, account=account)
        tasks = [asyncio.create_task(uploads.go_on()) for _ in range(UPLOADERS)]
        for _ in range(KILLS):
            await asyncio.sleep(random.uniform(*LIFE_S))
            await site.kill()
            await site.start()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await uploads.judge()
        begun = sum("#" in name for name in uploads.on_disk())
        print(
            f"\n{KILLS} kills: {len(uploads.acknowledged)} files acknowledged, {uploads.broken_off} uploads broken "
            f"off, {begun} half files left, all of them noted"
        )


async def test_stopping_breaks_off_uploads_without_a_trace(open_tmp_path: Path) -> None:
    """Stopped as an operator does it, with uploads that do not end: the exit code is right each time, and nothing is
    left of them."""
    async with run_site(open_tmp_path / "stopped") as site, make_session() as session:
        site.extra_settings = {"TIM_SERVER__LIMITS__SHUTDOWN_TIMEOUT_S": "0.2"}
        account = await _register(Api(session, base_url=site.base_url))
        uploads = Uploads(site=site, account=account)
        for _ in range(STOPS):
            await site.stop()
            await site.start()
            tasks = [asyncio.create_task(uploads.upload_slowly()) for _ in range(UPLOADERS)]
            await asyncio.sleep(0.5)
            await site.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert uploads.on_disk() == set()
            await site.start()


async def _register(api: Api) -> Account:
    while True:
        with suppress(Away):
            return await api.register("alice")
        await asyncio.sleep(PAUSE_S)
