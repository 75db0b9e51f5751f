"""What interrupted uploads leave is removed, and nothing else."""

import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.media_store.files import MediaFiles
from tim_server.media_store.folder import open_folder
from tim_server.media_store.thumbnails import Thumbnail
from tim_server.services.media.keep import MARGIN_MS, ArrivingMedium, MediaKeeping
from tim_server.services.media.reap import AGAIN_AFTER_MS, OBJECTS_PER_STEP, LeftoverReaping
from tim_server.storage.codec import make_codec
from tim_server.storage.media import doom_leftovers, find_medium, insert_medium, note_object
from tim_server.storage.store import Store

SERVER_NAME = ServerName("hospital.example")
TIMEOUT_S = 10.0
LATER_MS = int(TIMEOUT_S * 1000) + MARGIN_MS + 1
CODEC = make_codec(bytes(32))


class Time:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.ms = 1_000_000

    def now(self) -> int:
        return self.ms


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def files(tmp_path: Path) -> MediaFiles:
    return MediaFiles(open_folder(tmp_path / "objects"))


@pytest.fixture
def keeping(store: Store, files: MediaFiles, time: Time) -> MediaKeeping:
    return MediaKeeping(writer=store.writer, codec=CODEC, files=files, now_ms=time.now)


@pytest.fixture
async def reaping(store: Store, files: MediaFiles, time: Time) -> LeftoverReaping:
    async with store.database.transaction() as tx:
        await tx.execute("DELETE FROM media_leftovers")
    return LeftoverReaping(database=store.database, objects=files.objects, now_ms=time.now)


async def pieces_of(*pieces: bytes) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def arriving(pieces: AsyncIterator[bytes], media_id: str = "") -> ArrivingMedium:
    return ArrivingMedium(
        server_name=SERVER_NAME,
        media_id=MediaId(media_id or secrets.token_hex(8)),
        user_id=UserId("@alice:hospital.example"),
        content_type="image/png",
        file_name=None,
        pieces=pieces,
    )


def on_disk(files: MediaFiles) -> set[str]:
    folder = files.objects.folder
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


async def noted(store: Store) -> set[str]:
    async with store.database.connection() as connection:
        return {row[0] for row in await connection.fetch("SELECT object_name FROM media_leftovers")}


async def killed_upload(store: Store, files: MediaFiles, time: Time, *, is_whole: bool) -> str:
    """What a process leaves that is killed while it writes a file, or just before it makes it known."""
    name = f"ab/{secrets.token_hex(8)}"
    async with store.database.transaction() as tx:
        await note_object(tx, name, due_ts=time.ms + LATER_MS - 1)
    path = files.objects.folder / (name if is_whole else f"{name}#")
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"sealed")
    return name


@pytest.mark.parametrize("is_whole", [False, True])
async def test_what_a_killed_process_leaves_is_removed_later(
    store: Store, files: MediaFiles, time: Time, reaping: LeftoverReaping, is_whole: bool
) -> None:
    name = await killed_upload(store, files, time, is_whole=is_whole)
    await reaping.reap()
    assert len(on_disk(files)) == 1 and await noted(store) == {name}
    time.ms += LATER_MS
    await reaping.reap()
    assert on_disk(files) == set() and await noted(store) == set()


async def test_files_in_use_stay(
    store: Store, files: MediaFiles, time: Time, keeping: MediaKeeping, reaping: LeftoverReaping
) -> None:
    medium = await keeping.keep(arriving(pieces_of(b"content")), timeout_s=TIMEOUT_S)
    assert medium is not None
    assert await noted(store) == set()
    time.ms += LATER_MS
    await reaping.reap()
    assert on_disk(files) == {medium.object_name}


async def test_a_file_of_an_id_that_is_taken_is_removed(
    store: Store, files: MediaFiles, keeping: MediaKeeping, reaping: LeftoverReaping
) -> None:
    first = await keeping.keep(arriving(pieces_of(b"first"), "taken"), timeout_s=TIMEOUT_S)
    assert first is not None
    assert await keeping.keep(arriving(pieces_of(b"second"), "taken"), timeout_s=TIMEOUT_S) is None
    await reaping.reap()
    assert on_disk(files) == {first.object_name}
    async with store.database.connection() as connection:
        assert await find_medium(connection, CODEC, SERVER_NAME, MediaId("taken")) == first


async def test_a_thumbnail_of_a_file_that_is_gone_is_removed(
    files: MediaFiles, keeping: MediaKeeping, reaping: LeftoverReaping
) -> None:
    medium = await keeping.keep(arriving(pieces_of(b"image")), timeout_s=TIMEOUT_S)
    assert medium is not None
    gone = replace(medium, media_id=MediaId("gone"))
    thumbnail = Thumbnail(content=b"small", content_type="image/png")
    await keeping.keep_thumbnail(gone, "scale-9x9", thumbnail, timeout_s=TIMEOUT_S)
    assert on_disk(files) == {medium.object_name}


async def test_an_upload_that_ends_when_it_counts_as_left_over_is_no_file(
    store: Store, files: MediaFiles, time: Time, keeping: MediaKeeping, reaping: LeftoverReaping
) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"x" * 1_000_000
        time.ms += LATER_MS
        await reaping.reap()
        yield b"x"

    with pytest.raises(Unavailable):
        await keeping.keep(arriving(slow(), "late"), timeout_s=TIMEOUT_S)
    assert on_disk(files) == set()
    async with store.database.connection() as connection:
        assert await find_medium(connection, CODEC, SERVER_NAME, MediaId("late")) is None


async def test_what_is_doomed_can_not_become_a_file(
    store: Store, keeping: MediaKeeping, reaping: LeftoverReaping
) -> None:
    """Nor what is forgotten already: that it was written after all is noted."""
    medium = await keeping.keep(arriving(pieces_of(b"x"), "first"), timeout_s=TIMEOUT_S)
    assert medium is not None
    async with store.database.transaction() as tx:
        await note_object(tx, "ab/doomed", due_ts=0)
        await doom_leftovers(tx, now=1, again_ts=2, limit=1)
        for name in ("ab/doomed", "ab/forgotten"):
            another = replace(medium, media_id=MediaId("second"), object_name=name)
            assert not await insert_medium(tx, CODEC, another)
    assert await noted(store) == {"ab/doomed", "ab/forgotten"}


async def test_many_leftovers_are_removed_in_steps(
    store: Store, files: MediaFiles, time: Time, reaping: LeftoverReaping
) -> None:
    async with store.database.transaction() as tx:
        for number in range(2 * OBJECTS_PER_STEP + 1):
            await note_object(tx, f"ab/{number}", due_ts=0)
    await reaping.reap()
    assert await noted(store) == set()


async def test_what_can_not_be_removed_is_tried_again_and_keeps_nothing_else_waiting(
    store: Store, files: MediaFiles, time: Time, reaping: LeftoverReaping
) -> None:
    name = await killed_upload(store, files, time, is_whole=True)
    path = files.objects.folder / name
    path.unlink()
    (path / "folder").mkdir(parents=True)  # which is no file, so that removing it fails
    time.ms += LATER_MS
    async with store.database.transaction() as tx:
        for number in range(2 * OBJECTS_PER_STEP):
            await note_object(tx, f"ab/{number}", due_ts=time.ms)
    await reaping.reap()
    assert await noted(store) == {name}
    (path / "folder").rmdir()
    path.rmdir()
    time.ms += AGAIN_AFTER_MS
    await reaping.reap()
    assert await noted(store) == set()
