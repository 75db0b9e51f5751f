"""Files that have an address before they are uploaded."""

import asyncio
import json
import time
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.files import Download, announced, download, upload, uploaded
from tests.images import image, opened
from tests.people import Hospital, Person, run_hospital

LIMIT = 5
THUMBNAIL = "/_matrix/client/v1/media/thumbnail"


@pytest.fixture(scope="module")
async def clinic(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    limits = {"announced_files_per_user_max": LIMIT}
    async with run_hospital(tenant_dsn, tmp_path_factory.mktemp("media"), process={"limits": limits}) as clinic:
        yield clinic


@pytest.fixture
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


@pytest.fixture
async def bob(clinic: Hospital) -> Person:
    return await clinic.person()


def assert_refused(got: Download, status: int, errcode: str) -> None:
    assert (got.status, json.loads(got.body)["errcode"]) == (status, errcode)


async def expire(dsn: str, place: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute(
            "UPDATE announced_media SET expires_ts = 1 WHERE media_id = $1", place.partition("/")[2]
        )
    finally:
        await connection.close()


async def test_an_address_holds_for_a_day(alice: Person) -> None:
    answer = await alice.expect(200, "POST", "/_matrix/media/v1/create")
    assert answer["content_uri"].startswith("mxc://hospital.example/")
    assert abs(answer["unused_expires_at"] / 1000 - time.time() - 86_400) < 60


async def test_a_file_comes_to_its_address(alice: Person, bob: Person) -> None:
    place = await announced(alice)
    assert await upload(alice, b"content", place=place, content_type="image/png", filename="a.png") == (200, {})
    got = await download(bob, place)
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, b"content", "image/png")
    assert got.headers["Content-Disposition"] == "inline; filename=a.png"


async def test_a_file_is_not_overwritten(alice: Person, bob: Person) -> None:
    place, other = await announced(alice), await uploaded(alice, b"x")
    assert (await upload(alice, b"content", place=place))[0] == 200
    for person in (alice, bob):
        for each in (place, other):
            status, answer = await upload(person, b"other", place=each)
            assert (status, answer["errcode"]) == (409, "M_CANNOT_OVERWRITE_MEDIA")
    assert (await download(alice, place)).body == b"content"


async def test_of_two_uploads_to_an_address_one_is_taken(alice: Person) -> None:
    place = await announced(alice)
    contents = [bytes([number]) * 300_000 for number in range(4)]
    got = await asyncio.gather(*(upload(alice, content, place=place) for content in contents))
    statuses = [status for status, _ in got]
    assert sorted(statuses) == [200, 409, 409, 409]
    assert (await download(alice, place)).body == contents[statuses.index(200)]


async def test_nobody_else_uploads_to_an_address(alice: Person, bob: Person) -> None:
    place = await announced(alice)
    status, answer = await upload(bob, b"x", place=place)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


@pytest.mark.parametrize("place", ["hospital.example/unknown", "other.example/unknown"])
async def test_an_address_that_was_not_created_takes_nothing(alice: Person, place: str) -> None:
    status, answer = await upload(alice, b"x", place=place)
    assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")


async def test_an_address_expires(alice: Person, tenant_dsn: str) -> None:
    place = await announced(alice)
    await expire(tenant_dsn, place)
    status, answer = await upload(alice, b"x", place=place)
    assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
    assert_refused(await download(alice, place), 404, "M_NOT_FOUND")


async def test_so_many_addresses_may_wait_and_no_more(alice: Person, tenant_dsn: str) -> None:
    places = [await announced(alice) for _ in range(LIMIT)]
    await alice.refused(429, "M_LIMIT_EXCEEDED", "POST", "/_matrix/media/v1/create")
    await upload(alice, b"x", place=places[0])
    await announced(alice)
    await expire(tenant_dsn, places[1])
    await announced(alice)
    await alice.refused(429, "M_LIMIT_EXCEEDED", "POST", "/_matrix/media/v1/create")


async def test_who_downloads_too_early_waits(alice: Person, bob: Person) -> None:
    place = await announced(alice)
    waiting = asyncio.create_task(download(bob, place))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    assert (await upload(alice, b"content", place=place))[0] == 200
    assert (await asyncio.wait_for(waiting, 5)).body == b"content"


async def test_what_does_not_come_is_told_as_not_there_yet(alice: Person, bob: Person) -> None:
    place = await announced(alice)
    for timeout_ms in (0, 200, -1):
        assert_refused(await download(bob, f"{place}?timeout_ms={timeout_ms}"), 504, "M_NOT_YET_UPLOADED")


async def test_who_wants_a_smaller_image_waits_too(alice: Person, bob: Person) -> None:
    place, query = await announced(alice), "width=96&height=96"
    got = await download(bob, f"{place}?{query}&timeout_ms=200", place=THUMBNAIL)
    assert_refused(got, 504, "M_NOT_YET_UPLOADED")
    waiting = asyncio.create_task(download(bob, f"{place}?{query}", place=THUMBNAIL))
    await asyncio.sleep(0.3)
    assert (await upload(alice, image(), place=place))[0] == 200
    assert opened((await asyncio.wait_for(waiting, 10)).body).size == (96, 72)
