"""Files that are sealed in chunks: what is read is what was written, or nothing."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
from obstore.exceptions import GenericError

from tim_server.media_store.errors import FileAltered, MediaStoreError, NoSpaceLeft, ObjectMissing
from tim_server.media_store.files import FileToRead, MediaFiles, new_object_name
from tim_server.media_store.objects import open_objects
from tim_server.media_store.sealing import CHUNK_BYTES, SEALED_CHUNK_BYTES

IDENTITY = "mxc://hospital.example/abc"


@pytest.fixture
def files(tmp_path: Path) -> MediaFiles:
    return MediaFiles(open_objects(tmp_path / "objects"))


async def in_pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def write(files: MediaFiles, content: bytes, identity: str = IDENTITY) -> FileToRead:
    name = new_object_name()
    stored = await files.write(name, identity, in_pieces(content))
    assert stored.size_bytes == len(content)
    assert stored.sha256 == hashlib.sha256(content).digest()
    return FileToRead(object_name=name, identity=identity, key=stored.key, size_bytes=len(content))


async def read(files: MediaFiles, file: FileToRead, first: int = 0, last: int | None = None) -> bytes:
    last = file.size_bytes - 1 if last is None else last
    return b"".join([piece async for piece in files.read(file, first=first, last=last)])


def path_of(files: MediaFiles, file: FileToRead) -> Path:
    return files.objects.folder / file.object_name


@pytest.mark.parametrize(
    "size", [0, 1, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 4 * CHUNK_BYTES, 9 * CHUNK_BYTES + 17]
)
async def test_what_was_written_is_read(files: MediaFiles, size: int) -> None:
    content = secrets.token_bytes(size)
    assert await read(files, await write(files, content)) == content


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0, 0),
        (5, 5),
        (0, CHUNK_BYTES - 1),
        (CHUNK_BYTES - 1, CHUNK_BYTES),
        (CHUNK_BYTES, 6 * CHUNK_BYTES),
        (3 * CHUNK_BYTES + 7, 6 * CHUNK_BYTES + 9),
        (6 * CHUNK_BYTES + 10, 6 * CHUNK_BYTES + 10),
    ],
)
async def test_a_range_is_read_from_the_chunks_that_have_it(files: MediaFiles, first: int, last: int) -> None:
    content = secrets.token_bytes(6 * CHUNK_BYTES + 11)
    assert await read(files, await write(files, content), first, last) == content[first : last + 1]


async def test_nothing_of_the_content_is_on_disk(files: MediaFiles) -> None:
    planted = b"Diagnosis: planted text. "
    file = await write(files, planted * 20_000)
    assert planted not in path_of(files, file).read_bytes()


def cut_off(stored: bytes) -> bytes:
    return stored[:SEALED_CHUNK_BYTES]


def cut_off_within_a_chunk(stored: bytes) -> bytes:
    return stored[:-5]


def emptied(stored: bytes) -> bytes:
    return b""


def exchanged(stored: bytes) -> bytes:
    return (
        stored[SEALED_CHUNK_BYTES : 2 * SEALED_CHUNK_BYTES]
        + stored[:SEALED_CHUNK_BYTES]
        + stored[2 * SEALED_CHUNK_BYTES :]
    )


def repeated(stored: bytes) -> bytes:
    return stored[:SEALED_CHUNK_BYTES] * 3


def one_left_out(stored: bytes) -> bytes:
    return stored[:SEALED_CHUNK_BYTES] + stored[2 * SEALED_CHUNK_BYTES :]


def one_bit_changed(stored: bytes) -> bytes:
    return stored[:1000] + bytes([stored[1000] ^ 1]) + stored[1001:]


ALTERATIONS = (cut_off, cut_off_within_a_chunk, emptied, exchanged, repeated, one_left_out, one_bit_changed)


@pytest.mark.parametrize("alter", ALTERATIONS, ids=lambda alter: alter.__name__)
async def test_what_was_altered_is_found_out(files: MediaFiles, alter) -> None:
    content = secrets.token_bytes(3 * CHUNK_BYTES)
    file = await write(files, content)
    path = path_of(files, file)
    path.write_bytes(alter(path.read_bytes()))
    with pytest.raises(MediaStoreError):
        await read(files, file)


async def test_a_file_that_was_cut_off_does_not_pass_for_a_shorter_one(files: MediaFiles) -> None:
    """Not even where whoever cut it off could change its size in the database too."""
    file = await write(files, secrets.token_bytes(3 * CHUNK_BYTES))
    path_of(files, file).write_bytes(path_of(files, file).read_bytes()[: 2 * SEALED_CHUNK_BYTES])
    with pytest.raises(FileAltered):
        await read(files, replace(file, size_bytes=2 * CHUNK_BYTES))


async def test_a_file_opens_as_itself_only(files: MediaFiles) -> None:
    file = await write(files, b"secret")
    with pytest.raises(FileAltered):
        await read(files, replace(file, identity="mxc://hospital.example/other"))
    with pytest.raises(FileAltered):
        await read(files, replace(file, key=secrets.token_bytes(32)))


async def test_an_object_that_is_missing_is_told(files: MediaFiles) -> None:
    file = await write(files, b"secret")
    path_of(files, file).unlink()
    with pytest.raises(ObjectMissing):
        await read(files, file)


class Gone(Exception):
    pass


async def test_a_file_that_does_not_arrive_leaves_nothing(files: MediaFiles) -> None:
    async def breaks_off() -> AsyncIterator[bytes]:
        yield secrets.token_bytes(5 * CHUNK_BYTES)
        raise Gone

    with pytest.raises(Gone):
        await files.write(new_object_name(), IDENTITY, breaks_off())
    assert [path for path in files.objects.folder.rglob("*") if path.is_file()] == []


async def test_a_write_that_is_given_up_leaves_nothing(files: MediaFiles) -> None:
    async def stands_still() -> AsyncIterator[bytes]:
        yield secrets.token_bytes(5 * CHUNK_BYTES)
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await files.write(new_object_name(), IDENTITY, stands_still())
    for _ in range(100):  # what was begun is removed in the background
        left = [path for path in files.objects.folder.rglob("*") if path.is_file()]
        if not left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(left)


async def test_a_full_disk_is_told(files: MediaFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise GenericError("Unable to copy data to file: No space left on device (os error 28)")

    monkeypatch.setattr("obstore.put_async", full)
    with pytest.raises(NoSpaceLeft):
        await write(files, b"content")


async def test_removing_takes_the_remains_of_an_attempt_along(files: MediaFiles) -> None:
    name = new_object_name()
    path = files.objects.folder / name
    path.parent.mkdir()
    path.with_name(f"{path.name}#1").write_bytes(b"x")
    await files.objects.delete(name)
    await files.objects.delete(name)
    assert list(path.parent.iterdir()) == []
