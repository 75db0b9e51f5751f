"""Objects in a bucket: what is particular to it. Stores that refuse, are away, slow or full."""

import asyncio
import errno
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.objects import put
from tim_server.media_store.bucket import ANSWER_BYTES_MAX, BucketObjects, BucketPlace, open_bucket
from tim_server.media_store.errors import MediaStoreError, NoSpaceLeft, StoreRefused

NAME = "ab/cdef"


@dataclass
class Scripted:
    """A store that answers writes as it is told, and keeps what it has taken whole."""

    answers: list[Callable[[], Awaitable[web.Response]]] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)

    async def serve(self, request: web.Request) -> web.Response:
        if self.answers:
            return await self.answers.pop(0)()
        if request.method == "PUT":
            content = await request.read()
            assert int(request.headers["Content-Length"]) == len(content)
            self.taken.append(content)
        return web.Response()


def answer(status: int, code: str = "", padding: str = "") -> Callable[[], Awaitable[web.Response]]:
    async def give() -> web.Response:
        return web.Response(status=status, text=f"<Error><Code>{code}</Code>{padding}</Error>")

    return give


async def never() -> web.Response:
    await asyncio.sleep(60)
    raise AssertionError


@pytest.fixture
def store() -> Scripted:
    return Scripted()


@pytest.fixture
async def bucket(store: Scripted, tmp_path: Path) -> AsyncIterator[BucketObjects]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", store.serve)
    async with TestServer(app, port=0) as server, opened(str(server.make_url("")), tmp_path) as objects:
        yield objects


@asynccontextmanager
async def opened(endpoint: str, tmp_path: Path) -> AsyncIterator[BucketObjects]:
    place = BucketPlace(
        bucket="files",
        region="eu-central-1",
        prefix="tim/",
        endpoint=endpoint.rstrip("/"),
        access_key_id="somebody",
        secret_access_key="very secret",
        timeout_s=1.0,
    )
    objects = open_bucket(place, tmp_path / "arriving")
    yield objects
    assert list((tmp_path / "arriving").iterdir()) == []
    await objects.close()


@pytest.mark.parametrize(
    ("status", "code", "advice"),
    [
        (404, "NoSuchBucket", "media_store.s3.bucket"),
        (403, "AccessDenied", "s3:PutObject"),
        (403, "InvalidAccessKeyId", "access_key_id"),
        (403, "SignatureDoesNotMatch", "secret_access_key"),
        (403, "RequestTimeTooSkewed", "clock"),
        (301, "PermanentRedirect", "media_store.s3.region"),
        (400, "EntityTooLarge", "media_store.s3"),
    ],
)
async def test_a_refusal_says_what_to_look_at(
    store: Scripted, bucket: BucketObjects, status: int, code: str, advice: str
) -> None:
    store.answers = [answer(status, code)]
    with pytest.raises(StoreRefused) as refusal:
        await bucket.check()
    text = str(refusal.value)
    assert code in text and advice in text and "files" in text
    assert "very secret" not in text and "Signature=" not in text


@pytest.mark.parametrize(("status", "code"), [(507, "XMinioStorageFull"), (403, "QuotaExceeded")])
async def test_a_full_store_is_told(store: Scripted, bucket: BucketObjects, status: int, code: str) -> None:
    store.answers = [answer(status, code)]
    with pytest.raises(NoSpaceLeft):
        await put(bucket, NAME, b"sealed")


async def test_what_passes_is_tried_again_with_all_of_the_file(store: Scripted, bucket: BucketObjects) -> None:
    store.answers = [answer(503, "SlowDown"), answer(500, "InternalError")]
    content = secrets.token_bytes(700_000)
    await put(bucket, NAME, content[:300_000], content[300_000:])
    assert store.taken == [content]


async def test_what_can_not_be_removed_is_told(store: Scripted, bucket: BucketObjects) -> None:
    store.answers = [answer(503, "SlowDown"), answer(404, "NoSuchKey"), answer(403, "AccessDenied")]
    await bucket.delete(NAME)
    with pytest.raises(StoreRefused, match="s3:DeleteObject"):
        await bucket.delete(NAME)


async def test_what_does_not_pass_ends(store: Scripted, bucket: BucketObjects) -> None:
    store.answers = [answer(503, "SlowDown", "x" * ANSWER_BYTES_MAX)] * 3
    with pytest.raises(MediaStoreError, match="503 SlowDown"):
        await put(bucket, NAME, b"sealed")
    assert store.answers == [] and store.taken == []


async def test_a_store_that_does_not_answer_is_given_up(store: Scripted, bucket: BucketObjects) -> None:
    store.answers = [never] * 3
    async with asyncio.timeout(20):
        with pytest.raises(MediaStoreError, match="TimeoutError"):
            await put(bucket, NAME, b"sealed")


async def test_a_store_that_is_away_is_told(tmp_path: Path) -> None:
    async with opened("http://127.0.0.1:1", tmp_path) as objects:
        with pytest.raises(MediaStoreError, match="does not carry out a PUT"):
            await put(objects, NAME, b"sealed")
        with pytest.raises(MediaStoreError):
            await anext(objects.read(NAME, 0, 5))
        with pytest.raises(MediaStoreError):
            await objects.delete(NAME)


async def test_nobody_is_asked_before_a_file_is_whole(store: Scripted, bucket: BucketObjects) -> None:
    store.answers = [never]
    with pytest.raises(ConnectionResetError):
        async with bucket.draft(NAME) as write:
            write(memoryview(secrets.token_bytes(300_000)))
            raise ConnectionResetError
    assert store.answers == [never]


async def test_a_full_disk_is_told_before_anybody_is_asked(
    store: Scripted, bucket: BucketObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *_: object) -> None:
            return None

        def write(self, _: bytes) -> int:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(NoSpaceLeft):
        await put(bucket, NAME, b"sealed")
    assert store.taken == []
