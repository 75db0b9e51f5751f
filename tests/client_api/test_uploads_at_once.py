"""What users may have under way at once: whoever holds uploads back fills neither the disk nor the memory.

Spec: https://spec.matrix.org/v1.19/client-server-api/#content-repo-security-considerations
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.eventually import eventually
from tests.files import MIB, announced, in_chunks, upload, uploaded
from tests.people import Hospital, Person, run_hospital

AT_ONCE = 3
QUOTA = 4 * MIB


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("media")


@pytest.fixture
async def clinic(make_tenant_dsn: Callable[[], Awaitable[str]], folder: Path) -> AsyncIterator[Hospital]:
    media = {"quota_bytes_per_user": QUOTA, "quota_bytes": 2 * QUOTA}
    limits = {"uploads_under_way_per_user_max": AT_ONCE}
    async with run_hospital(await make_tenant_dsn(), folder, media=media, process={"limits": limits}) as clinic:
        yield clinic


@pytest.fixture
async def alice(clinic: Hospital) -> Person:
    return await clinic.person()


@asynccontextmanager
async def held_back(person: Person, folder: Path, size_bytes: int) -> AsyncIterator[asyncio.Event]:
    """An upload of which so much is there, and which does not end before the event is set."""
    end = asyncio.Event()

    async def pieces() -> AsyncIterator[bytes]:
        async for piece in in_chunks(size_bytes):
            yield piece
        await end.wait()

    before = await written(folder)
    task = asyncio.create_task(upload(person, pieces()))
    await eventually(lambda: written(folder), lambda size: size - before > size_bytes - MIB)
    try:
        yield end
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def written(folder: Path) -> int:
    return sum(path.stat().st_size for path in (folder / "media").rglob("*") if path.is_file())


async def test_a_user_has_so_many_uploads_under_way(clinic: Hospital, alice: Person, folder: Path) -> None:
    async with held_back(alice, folder, MIB), held_back(alice, folder, MIB):
        async with held_back(alice, folder, MIB):
            for place in (None, await announced(alice)):
                status, answer = await upload(alice, b"x", place=place)
                assert (status, answer["errcode"]) == (429, "M_LIMIT_EXCEEDED")
                assert answer["retry_after_ms"] > 0
            await uploaded(await clinic.person(), b"x")
        await eventually(lambda: upload(alice, b"x"), lambda got: got[0] == 200)


async def test_what_is_under_way_counts_towards_what_a_user_may_upload(alice: Person, folder: Path) -> None:
    async with held_back(alice, folder, QUOTA // 2):
        status, answer = await upload(alice, in_chunks(QUOTA // 2 + 1))
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    await eventually(lambda: upload(alice, in_chunks(QUOTA)), lambda got: got[0] == 200)


async def test_what_is_under_way_counts_towards_what_all_may_upload(clinic: Hospital, folder: Path) -> None:
    alice, bob, carol = [await clinic.person() for _ in range(3)]
    async with held_back(alice, folder, QUOTA - MIB), held_back(bob, folder, QUOTA - MIB):
        status, answer = await upload(carol, in_chunks(2 * MIB + 1))
        assert (status, answer["errcode"]) == (507, "M_UNKNOWN")
        await uploaded(carol, in_chunks(MIB))
