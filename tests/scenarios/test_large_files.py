"""Files of 100 MiB, several at once: locally, in a bucket, and to another hospital. Memory stays where it was."""

import asyncio
import hashlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.durability.form import IS_SHORT
from tests.files import MIB, in_chunks, upload, uploaded
from tests.hospitals import run_hospitals
from tests.large_files import HAS_PROC, hash_of, resident_mib, upload_large
from tests.people import MEDIA_STORE, Person, run_hospital
from tests.s3 import run_s3
from tim_server.app.memory import give_back_freed_memory

pytestmark = [pytest.mark.long, pytest.mark.skipif(not HAS_PROC, reason="reads /proc")]

SIZE_BYTES = 100 * MIB
AT_ONCE = 3 if IS_SHORT else 10
GROWTH_MIB_MAX = 40
"""Of one server. The clients of this test are in the same process, and both servers where a file goes across."""


@asynccontextmanager
async def watched(what: str, person: Person, *, servers: int = 1) -> AsyncIterator[None]:
    """Prints how long it took, how memory grew, and how long syncs took meanwhile; fails where memory grew too much."""
    before, peak, syncs = resident_mib(), 0.0, []

    async def watch() -> None:
        nonlocal peak
        while True:
            began = time.perf_counter()
            await person.get("sync", timeout=0)
            syncs.append((time.perf_counter() - began) * 1000)
            peak = max(peak, resident_mib())
            await asyncio.sleep(0.05)

    began, task = time.perf_counter(), asyncio.create_task(watch())
    yield
    seconds = time.perf_counter() - began
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    print(
        f"\n{what}: {AT_ONCE * SIZE_BYTES / MIB / seconds:.0f} MiB/s, memory grew by {peak - before:.0f} MiB, "
        f"syncs took {statistics.median(syncs):.0f} ms (median), {max(syncs):.0f} ms at most"
    )
    assert peak - before < GROWTH_MIB_MAX * servers, what


async def test_large_files_take_little_memory(make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path) -> None:
    give_back_freed_memory()
    dsns = [await make_tenant_dsn(), await make_tenant_dsn()]
    async with run_hospitals(["a.example", "b.example"], dsns, tmp_path) as (_, (a, b)):
        alice, bob = await a.person(), await b.person()
        assert await hash_of(alice, await uploaded(bob, b"warm")) == hashlib.sha256(b"warm").digest()
        async with watched("uploads", bob):
            files = dict(await asyncio.gather(*(upload_large(bob, SIZE_BYTES) for _ in range(AT_ONCE))))
        async with watched("downloads", bob):
            got = await asyncio.gather(*(hash_of(bob, file) for file in files))
        assert got == [*files.values()]
        status, answer = await upload(bob, in_chunks(121 * MIB))
        assert (status, answer["errcode"]) == (413, "M_TOO_LARGE")
        async with watched("downloads from the other hospital", alice, servers=2):
            got = await asyncio.gather(*(hash_of(alice, file) for file in files))
        assert got == [*files.values()]


async def test_large_files_in_a_bucket_take_little_memory(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    give_back_freed_memory()
    async with run_s3() as s3:
        await s3.make_bucket("files")
        store = {"media_store": {**MEDIA_STORE, "s3": s3.options("files")}}
        async with run_hospital(await make_tenant_dsn(), tmp_path, process=store) as hospital:
            bob = await hospital.person()
            assert await hash_of(bob, await uploaded(bob, b"warm")) == hashlib.sha256(b"warm").digest()
            async with watched("uploads to a bucket", bob):
                files = dict(await asyncio.gather(*(upload_large(bob, SIZE_BYTES) for _ in range(AT_ONCE))))
            async with watched("downloads from a bucket", bob):
                got = await asyncio.gather(*(hash_of(bob, file) for file in files))
            assert got == [*files.values()]
