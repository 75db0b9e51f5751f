"""How much a user may upload in all."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.files import MIB, UPLOAD, announced, download, in_chunks, upload, uploaded
from tests.people import SERVER, Hospital, Person, run_hospital

QUOTA = 1 * MIB


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture
async def clinic(tenant_dsn: str, folder: Path) -> AsyncIterator[Hospital]:
    async with run_hospital(tenant_dsn, folder, media={"quota_bytes_per_user": QUOTA}) as clinic:
        yield clinic


@pytest.fixture
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


async def refused(person: Person, content: object, **options: str) -> None:
    status, answer = await upload(person, content, **options)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")


async def stored_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "media").rglob("*") if path.is_file())


async def test_a_user_uploads_so_much_and_no_more(clinic: Hospital, alice: Person, folder: Path) -> None:
    files = [await uploaded(alice, bytes(QUOTA // 2)) for _ in range(2)]
    before = await stored_bytes(folder)
    await refused(alice, b"x")
    await refused(alice, b"x", place=await announced(alice))
    assert {(await download(alice, file)).status for file in files} == {200}
    await uploaded(await clinic.person(), b"x")
    assert await stored_bytes(folder) < before + 1_000


async def test_what_is_too_much_is_broken_off_and_leaves_nothing(alice: Person, folder: Path) -> None:
    await refused(alice, in_chunks(QUOTA + 1))
    await eventually(lambda: stored_bytes(folder), lambda size: size == 0)
    await uploaded(alice, in_chunks(QUOTA))


async def test_what_says_to_be_too_much_is_not_read(clinic: Hospital, alice: Person) -> None:
    for method, path in (("POST", UPLOAD), ("PUT", f"{UPLOAD}/{await announced(alice)}")):
        reader, writer = await asyncio.open_connection(*clinic.address)
        with closing(writer):
            writer.write(
                f"{method} {path} HTTP/1.1\r\nHost: {SERVER}\r\nAuthorization: Bearer {alice.token}\r\n"
                f"Content-Length: {QUOTA + 1}\r\n\r\n".encode()
            )
            async with asyncio.timeout(5):
                assert b" 403 " in await reader.readline()


async def test_what_comes_at_once_counts_together(alice: Person, folder: Path) -> None:
    got = await asyncio.gather(*(upload(alice, bytes(QUOTA // 3)) for _ in range(6)))
    assert sorted(status for status, _ in got) == [200, 200, 200, 403, 403, 403]
    await eventually(lambda: stored_bytes(folder), lambda size: size < QUOTA + 1_000)


async def test_all_users_upload_so_much_and_no_more(make_tenant_dsn, tmp_path: Path) -> None:
    async with run_hospital(await make_tenant_dsn(), tmp_path, media={"quota_bytes": QUOTA}) as clinic:
        alice, bob = await clinic.person(), await clinic.person()
        file = await uploaded(alice, bytes(QUOTA // 2))
        status, answer = await upload(bob, in_chunks(QUOTA // 2 + 1))
        assert (status, answer["errcode"]) == (507, "M_UNKNOWN")
        await uploaded(bob, in_chunks(QUOTA // 2))
        for person, place in ((alice, None), (bob, await announced(bob))):
            assert (await upload(person, b"x", place=place))[0] == 507
        assert (await download(bob, file)).status == 200


async def test_what_was_there_before_counts(make_tenant_dsn, tmp_path: Path) -> None:
    dsn = await make_tenant_dsn()
    async with run_hospital(dsn, tmp_path) as clinic:
        await uploaded(await clinic.person(), bytes(QUOTA))
    async with run_hospital(dsn, tmp_path, media={"quota_bytes": QUOTA}) as clinic:
        assert (await upload(await clinic.person(), b"x"))[0] == 507


async def test_small_files_are_counted_too(make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path) -> None:
    async with run_hospital(await make_tenant_dsn(), tmp_path, media={"files_per_user_max": 2}) as clinic:
        alice = await clinic.person()
        got = await asyncio.gather(*(upload(alice, b"") for _ in range(4)))
        assert sorted(status for status, _ in got) == [200, 200, 403, 403]
        await refused(alice, b"")
        await uploaded(await clinic.person(), b"")
