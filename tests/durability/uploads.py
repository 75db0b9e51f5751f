"""People who use files all the time, whether or not anybody answers: uploads, announced ones too, files of another
server, thumbnails. Whatever they are given is judged at once, and what they were told to have once more at the end."""

import asyncio
import hashlib
import random
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from tests.durability.api import Account
from tests.durability.site import Site
from tests.eventually import eventually
from tests.files import DOWNLOAD, MIB, UPLOAD
from tests.images import image, opened
from tests.leftovers import reap_all
from tests.s3 import names_in
from tim_server.app.media_objects import open_objects
from tim_server.config.load import load_settings
from tim_server.media_store.bucket import CHECK_NAME, BucketObjects
from tim_server.media_store.folder import FolderObjects

SIZE_BYTES_MAX = 4 * MIB
PIECE_BYTES = 64 * 1024
IMAGE_SIZE = (640, 480)
SIDES = range(16, 300, 15)
THUMBNAILS_JUDGED = 30
PATIENCE_S = 90.0
NOT_YET_UPLOADED = 504
CREATE = "/_matrix/media/v1/create"
THUMBNAIL = "/_matrix/client/v1/media/thumbnail"
GONE = (aiohttp.ClientError, OSError, TimeoutError)
UPLOADED = "SELECT coalesce(sum(size_bytes), 0)::bigint AS bytes FROM media WHERE user_id = $1"
FILES = "SELECT server_name || '/' || media_id AS file, size_bytes FROM media"


@dataclass(kw_only=True)
class FileUser:
    """Somebody with an account. `acknowledged` has the hash of each file that the server has said to have, `open` the
    content of announced ones of which it has said nothing; `of_others` are those of somebody at another server."""

    site: Site
    account: Account
    refusals: frozenset[int]
    pause_s: float
    of_others: Mapping[str, bytes] = field(default_factory=dict)
    acknowledged: dict[str, bytes] = field(default_factory=dict)
    open: dict[str, bytes] = field(default_factory=dict)
    images: list[str] = field(default_factory=list)
    thumbnails: set[tuple[str, int]] = field(default_factory=set)
    seen: "Counter[str]" = field(default_factory=Counter)

    def all_day(self) -> "list[asyncio.Task[None]]":
        """All that they do, until the tasks are cancelled."""
        works = (self._upload, self._upload, self._upload_announced, self._fetch, self._look_at_thumbnail)
        return [asyncio.create_task(self._again_and_again(work)) for work in works]

    async def _again_and_again(self, work: Any) -> None:
        while True:
            try:
                await work()
            except GONE:
                self.seen["broken off"] += 1
            await asyncio.sleep(self.pause_s)

    async def _upload(self) -> None:
        is_image = random.random() < 0.3
        content = _content(is_image=is_image)
        status, answer = await self._send("POST", UPLOAD, content)
        if status == 200:
            file = answer["content_uri"].removeprefix("mxc://")
            self.acknowledged[file] = hashlib.sha256(content).digest()
            if is_image:
                self.images.append(file)

    async def _upload_announced(self) -> None:
        if not self.open:
            status, answer = await self._send("POST", CREATE, b"")
            if status == 200:
                self.open[answer["content_uri"].removeprefix("mxc://")] = _content()
        for file in list(self.open):
            await self._finish(file)

    async def _finish(self, file: str) -> None:
        content = self.open[file]
        status, _ = await self._send("PUT", f"{UPLOAD}/{file}", content)
        if status in (200, 409):  # it may have been taken without an answer
            self.acknowledged[file] = hashlib.sha256(content).digest()
            del self.open[file]

    async def _fetch(self) -> None:
        if self.of_others:
            file = random.choice(list(self.of_others))
            if await self._get(f"{DOWNLOAD}/{file}", self.of_others[file]) is not None:
                self.seen["copies"] += 1

    async def _look_at_thumbnail(self) -> None:
        if self.images:
            file, side = random.choice(self.images), random.choice(SIDES)
            self.thumbnails.add((file, side))
            await self._thumbnail(file, side)

    async def _thumbnail(self, file: str, side: int) -> bool:
        content = await self._get(f"{THUMBNAIL}/{file}?width={side}&height={side}&method=crop")
        if content is not None:
            picture = opened(content)
            picture.load()  # which fails where a part is missing
            assert picture.size == (side, side)
            self.seen["thumbnails"] += 1
        return content is not None

    async def _send(self, method: str, path: str, content: bytes) -> tuple[int, Any]:
        url, is_slow = self.site.base_url + path, random.random() < 0.3
        data = _slowly(content) if is_slow else content
        async with self.account.api.session.request(method, url, data=data, headers=self._headers) as response:
            assert response.status in {200, 409, *self.refusals}, (path, response.status)
            self.seen[f"{method} {response.status}"] += 1
            return response.status, await response.json()

    async def _get(self, path: str, digest: bytes | None = None) -> bytes | None:
        """What is there, whole; None where that is refused."""
        async with self.account.api.session.get(self.site.base_url + path, headers=self._headers) as response:
            self.seen[f"GET {response.status}"] += 1
            content = await response.read()
            if response.status == 200:
                assert digest is None or hashlib.sha256(content).digest() == digest, path
                return content
            assert response.status in self.refusals, (path, response.status, content)
            return None

    @property
    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.account.token}"}

    async def judge(self) -> None:
        """What must hold once nobody is in trouble."""
        self.refusals |= {NOT_YET_UPLOADED}
        for file, content in list(self.open.items()):
            await self._get(f"{DOWNLOAD}/{file}?timeout_ms=0", hashlib.sha256(content).digest())
            await self._finish(file)
        assert not self.open
        sizes = {row["file"]: row["size_bytes"] for row in await self.site.fetch(FILES)}  # also never acknowledged
        known = self.acknowledged | dict(self.of_others)
        for file in sizes.keys() | known.keys():
            look = partial(self._get, f"{DOWNLOAD}/{file}", known.get(file))
            content = await eventually(look, lambda content: content is not None, PATIENCE_S)
            assert content is not None and len(content) == sizes.get(file, len(content))
        for file, side in random.sample(sorted(self.thumbnails), min(len(self.thumbnails), THUMBNAILS_JUDGED)):
            assert await self._thumbnail(file, side)

    async def judge_quota(self) -> None:
        """What is there counts, nothing else does."""
        (row,) = await self.site.fetch(UPLOADED, self.account.user_id)
        await self.site.stop()
        self.site.extra_settings = {"TIM_SERVER__MEDIA__QUOTA_BYTES_PER_USER": str(row["bytes"] + 1000)}
        await self.site.start()
        for size_bytes, status in ((1001, 403), (1000, 200), (1, 403)):
            url, content = self.site.base_url + UPLOAD, bytes(size_bytes)
            async with self.account.api.session.post(url, data=content, headers=self._headers) as response:
                assert response.status == status, size_bytes


def _content(*, is_image: bool = False) -> bytes:
    """A file that no other is like. What comes after an image is no part of it."""
    if is_image:
        return image(*IMAGE_SIZE) + secrets.token_bytes(20)
    return secrets.token_bytes(int(random.random() ** 2 * SIZE_BYTES_MAX))


async def _slowly(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]
        await asyncio.sleep(0.01)


async def nothing_left_over(site: Site) -> int:
    """Kill the server, and do what the next would do within hours: then there are the objects that the database knows,
    and no others. How many there were before."""
    await site.kill()
    settings = load_settings(site.folder / "tim-server.yaml", {})
    (tenant,) = settings.tenants
    objects = open_objects(settings, tenant)
    before = await _stored(objects)
    known = await reap_all(site.tenant_dsn(tenant.database_role), objects)
    assert await _stored(objects) - {CHECK_NAME} == set(known)  # which the next start removes
    await objects.close()
    await site.start()
    return len(before) - len(known)


async def _stored(objects: Any) -> set[str]:
    """Names of all objects, and of those that were begun."""
    if isinstance(objects, BucketObjects):
        prefix = objects.place.prefix
        names = await names_in(objects._store)
        assert all(name.startswith(prefix) for name in names)
        return {name.removeprefix(prefix) for name in names} | files_in(objects.folder)
    assert isinstance(objects, FolderObjects)
    return files_in(objects.folder)


def files_in(folder: Path) -> set[str]:
    """Names of files below a folder."""
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
