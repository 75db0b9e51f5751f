"""Files go to Synapse and come from it."""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.files import MIB, announced, download, upload, uploaded
from tests.images import image, opened
from tests.large_files import HAS_PROC, hash_of, resident_mib, upload_large
from tests.synapse.conftest import Pair
from tim_server.app.memory import give_back_freed_memory

pytestmark = pytest.mark.external

LARGE_BYTES = 100 * MIB
GROWTH_MIB_MAX = 40
"""Of our server, with the clients that are in the same process."""


@asynccontextmanager
async def watched(what: str) -> AsyncIterator[None]:
    """Prints how fast it went and how memory grew, which must not be by much."""
    give_back_freed_memory()
    before, peak = resident_mib(), 0.0

    async def watch() -> None:
        nonlocal peak
        while True:
            peak = max(peak, resident_mib())
            await asyncio.sleep(0.02)

    began, task = time.perf_counter(), asyncio.create_task(watch())
    yield
    seconds = time.perf_counter() - began
    task.cancel()
    print(f"\n{what}: {LARGE_BYTES / MIB / seconds:.0f} MiB/s, memory grew by {peak - before:.0f} MiB")
    assert peak - before < GROWTH_MIB_MAX, what


@pytest.mark.parametrize("size", [0, 1, 3 * MIB + 1])
async def test_users_of_synapse_download_our_files(pair: Pair, size: int) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    content = secrets.token_bytes(size)
    file = await uploaded(alice, content, content_type="image/png", filename="Röntgen.png")
    got = await download(bob, file)
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, content, "image/png")
    assert "R%C3%B6ntgen.png" in got.headers["Content-Disposition"]


@pytest.mark.parametrize("size", [1, 3 * MIB + 1])
async def test_our_users_download_files_of_synapse(pair: Pair, size: int) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    content = secrets.token_bytes(size)
    file = await uploaded(bob, content, content_type="text/plain", filename="Röntgen.txt")
    got = await download(alice, file)
    assert (got.status, got.body, got.headers["Content-Type"]) == (200, content, "text/plain")
    assert got.headers["Content-Disposition"] == "inline; filename*=utf-8''R%C3%B6ntgen.txt"


async def test_what_is_announced_there_is_not_there_yet(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    place = await announced(bob)
    assert (await download(alice, f"{place}?timeout_ms=100")).status == 504
    assert (await upload(bob, b"content", place=place))[0] == 200
    assert (await download(alice, place)).body == b"content"


async def test_what_is_not_there_is_not_found(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    assert (await download(alice, f"{pair.synapse.name}/nothing")).status == 404
    assert (await download(bob, f"{pair.ours.name}/nothing")).status == 404


async def test_images_are_made_smaller_on_either_side(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    for sender, reader in ((alice, bob), (bob, alice)):
        file = await uploaded(sender, image(800, 600), content_type="image/jpeg")
        query = "width=96&height=96&method=crop"
        got = await download(reader, f"{file}?{query}", place="/_matrix/client/v1/media/thumbnail")
        assert (got.status, opened(got.body).size) == (200, (96, 96))


@pytest.mark.skipif(not HAS_PROC, reason="reads /proc")
async def test_large_files_pass_whole_and_take_little_memory(pair: Pair) -> None:
    alice, bob = await pair.ours.person(), await pair.theirs.person()
    await download(alice, await uploaded(bob, b"warm"))
    async with watched("an upload"):
        ours, our_hash = await upload_large(alice, LARGE_BYTES)
    async with watched("a download by a user of Synapse"):
        assert await hash_of(bob, ours) == our_hash
    theirs, their_hash = await upload_large(bob, LARGE_BYTES)
    async with watched("a download from Synapse"):
        assert await hash_of(alice, theirs) == their_hash
    async with watched("another download of the copy"):
        assert await hash_of(alice, theirs) == their_hash
