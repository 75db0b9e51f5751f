"""Files in a bucket whose store is in trouble, or lies: what people are answered. What they were told to have is there,
nobody gets a byte that is not of the file, and nothing stays behind."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path

import aiohttp
import pytest

from tests.files import announced, download, upload, uploaded
from tests.images import image, opened
from tests.leftovers import reap_all
from tests.people import MEDIA_STORE, Hospital, Person, run_hospital
from tests.s3 import names_in, run_s3
from tests.s3_gate import (
    Gate,
    Mishap,
    altered,
    broken_off,
    done_and_reset,
    refused,
    reset,
    run_gate,
    slowly,
    stands_still,
    too_short,
)
from tim_server.media_store.bucket import BucketPlace, open_bucket
from tim_server.media_store.sealing import CHUNK_BYTES

BUCKET = "hospital-files"
STORE_TIMEOUT_S = 1.0
CONTENT = secrets.token_bytes(3 * CHUNK_BYTES + 5)
THUMBNAIL = "/_matrix/client/v1/media/thumbnail"


@pytest.fixture(scope="module")
async def gate() -> AsyncIterator[Gate]:
    async with run_s3() as s3, run_gate(s3) as gate:
        await s3.make_bucket(BUCKET)
        yield gate


@pytest.fixture(scope="module")
async def dsn(make_tenant_dsn: Callable[[], Awaitable[str]]) -> str:
    return await make_tenant_dsn()


@pytest.fixture(scope="module")
async def hospital(gate: Gate, dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    options = {**MEDIA_STORE, "s3": {**gate.s3.options(BUCKET), "timeout_s": STORE_TIMEOUT_S}}
    folder = tmp_path_factory.mktemp("hospital")
    async with run_hospital(dsn, folder, process={"media_store": options}) as hospital:
        yield hospital
    assert [path for path in (folder / "media").rglob("*") if path.is_file()] == []
    gate.will({})
    await check_nothing_stays_behind(gate, dsn, folder)


@pytest.fixture(scope="module")
async def alice(hospital: Hospital) -> Person:
    return await hospital.person()


@pytest.fixture(autouse=True)
def no_trouble(gate: Gate) -> None:
    gate.will({})


async def check_nothing_stays_behind(gate: Gate, dsn: str, folder: Path) -> None:
    """Once what is left over is removed, the bucket has what the database knows."""
    (tenant,) = {name.partition("/")[0] for name in await names_in(gate.behind.look_into(BUCKET))}
    place = BucketPlace(prefix=f"{tenant}/", timeout_s=30.0, **gate.behind.options(BUCKET))
    objects = open_bucket(place, folder)
    known = await reap_all(dsn, objects)
    await objects.close()
    assert await names_in(gate.behind.look_into(BUCKET)) == {f"{tenant}/{name}" for name in known}


@pytest.mark.parametrize(
    ("mishaps", "status"),
    [
        ([refused(503, "SlowDown"), reset], 200),
        ([done_and_reset, refused(500, "InternalError")], 200),
        ([stands_still], 200),
        ([refused(400, "RequestTimeout")], 200),
        ([refused(503, "SlowDown")] * 3, 503),
        ([reset] * 3, 503),
        ([done_and_reset] * 3, 503),
        ([refused(403, "AccessDenied")], 503),
        ([refused(507, "XMinioStorageFull")], 507),
    ],
    ids=["busy", "unanswered", "slow", "slow way", "busy long", "breaks", "unanswered long", "refuses", "full"],
)
async def test_uploads(gate: Gate, alice: Person, mishaps: Sequence[Mishap], status: int) -> None:
    place = await announced(alice)
    gate.will({"PUT": mishaps})
    got, answer = await upload(alice, CONTENT, place=place)
    assert got == status, answer
    if status != 200:
        assert answer["errcode"] == "M_UNKNOWN"
        assert (await download(alice, f"{place}?timeout_ms=0")).status == 504
        assert (await upload(alice, CONTENT, place=place))[0] == 200  # who tries again succeeds
    assert (await download(alice, place)).body == CONTENT


async def test_an_upload_that_is_altered_on_its_way_is_sent_again(gate: Gate, alice: Person) -> None:
    gate.alters_uploads = 2
    file = await uploaded(alice, CONTENT)
    assert gate.alters_uploads == 0
    assert (await download(alice, file)).body == CONTENT


@pytest.mark.parametrize(
    ("mishaps", "status"),
    [
        ([refused(503, "SlowDown"), reset], 200),
        ([broken_off, broken_off], 200),
        ([slowly], 200),
        ([stands_still], 503),
        ([refused(503, "SlowDown")] * 9, 503),
        ([reset] * 9, 503),
        ([refused(403, "AccessDenied")], 503),
        ([refused(404, "NoSuchKey")], 500),
        ([altered], 500),
        ([too_short], 500),
    ],
    ids=[
        "busy",
        "breaks off",
        "slow",
        "stands still",
        "busy long",
        "breaks",
        "refuses",
        "lost",
        "altered",
        "too short",
    ],
)
@pytest.mark.parametrize("range", [None, f"bytes={CHUNK_BYTES - 1}-{3 * CHUNK_BYTES}"], ids=["whole", "range"])
async def test_downloads(gate: Gate, alice: Person, mishaps: Sequence[Mishap], status: int, range: str | None) -> None:
    file = await uploaded(alice, CONTENT)
    headers, expected = (
        ({}, CONTENT) if range is None else ({"Range": range}, CONTENT[CHUNK_BYTES - 1 : 3 * CHUNK_BYTES + 1])
    )
    gate.will({"GET": mishaps})
    got = b""
    try:
        async with alice.session.get(
            f"/_matrix/client/v1/media/download/{file}", headers={"Authorization": f"Bearer {alice.token}", **headers}
        ) as response:
            if response.status >= 400:
                assert response.status == status
                assert (await response.json())["errcode"] == "M_UNKNOWN"
            else:
                async for piece in response.content.iter_any():
                    got += piece
                assert status == 200 and got == expected
    except aiohttp.ClientPayloadError:  # what has begun can only be broken off
        assert status == 500 and expected.startswith(got) and len(got) < len(expected)
    gate.will({})
    assert (await download(alice, file, **headers)).body == expected


async def test_thumbnails_are_given_where_they_can_not_be_kept(gate: Gate, alice: Person) -> None:
    file = await uploaded(alice, image(), content_type="image/jpeg")
    small = f"{file}?width=32&height=32"
    gate.will({"PUT": [reset] * 3})
    answer = await download(alice, small, place=THUMBNAIL)
    assert answer.status == 200 and opened(answer.body).size == (32, 24)
    gate.will({"GET": [reset] * 9})
    assert (await download(alice, small, place=THUMBNAIL)).status == 503
    gate.will({})
    assert (await download(alice, small, place=THUMBNAIL)).status == 200
