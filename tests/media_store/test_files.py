"""Files that are sealed in chunks: what is read is what was written, or nothing. In a folder, and in a bucket."""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass, replace
from pathlib import Path

import obstore
import pytest
from obstore.store import LocalStore, S3Store

from tests.s3 import S3, run_s3
from tim_server.media_store.bucket import BucketPlace, open_bucket
from tim_server.media_store.errors import FileAltered, MediaStoreError, ObjectMissing
from tim_server.media_store.files import FileToRead, MediaFiles, new_object_name
from tim_server.media_store.folder import open_folder
from tim_server.media_store.sealing import CHUNK_BYTES, SEALED_CHUNK_BYTES

IDENTITY = "mxc://hospital.example/abc"
BUCKET = "files"


@dataclass(frozen=True, slots=True)
class Stored:
    """Files, and a look behind them."""

    files: MediaFiles
    behind: LocalStore | S3Store
    prefix: str

    async def bytes_of(self, file: FileToRead) -> bytes:
        """What is stored of a file."""
        return bytes(await (await obstore.get_async(self.behind, self.prefix + file.object_name)).bytes_async())

    async def replace(self, file: FileToRead, content: bytes) -> None:
        """Store something else."""
        await obstore.put_async(self.behind, self.prefix + file.object_name, content)

    async def remove(self, file: FileToRead) -> None:
        await obstore.delete_async(self.behind, self.prefix + file.object_name)

    async def names(self) -> set[str]:
        """All objects there are."""
        metas = await obstore.list(self.behind, self.prefix or None).collect_async()
        return {meta["path"] for meta in metas}


@pytest.fixture(scope="module")
async def s3() -> AsyncIterator[S3]:
    async with run_s3() as store:
        await store.make_bucket(BUCKET)
        yield store


@pytest.fixture(params=["folder", "bucket"])
async def stored(request: pytest.FixtureRequest, s3: S3, tmp_path: Path) -> AsyncIterator[Stored]:
    if request.param == "folder":
        objects = open_folder(tmp_path / "objects")
        yield Stored(MediaFiles(objects), LocalStore(objects.folder), "")
        await objects.close()
        return
    prefix = f"{secrets.token_hex(8)}/"
    place = BucketPlace(prefix=prefix, timeout_s=30.0, **s3.options(BUCKET))
    bucket = open_bucket(place, tmp_path / "arriving")
    yield Stored(MediaFiles(bucket), s3.look_into(BUCKET), prefix)
    assert list((tmp_path / "arriving").iterdir()) == []
    await bucket.close()


@pytest.fixture
def files(stored: Stored) -> MediaFiles:
    return stored.files


def open_folders() -> set[Path]:
    """Folders of which this process has files open, and those above them."""
    links = [link for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return {parent for link in links for parent in link.readlink().parents}


async def in_pieces(content: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def write(files: MediaFiles, content: bytes, identity: str = IDENTITY) -> FileToRead:
    name = new_object_name()
    digest = hashlib.sha256()
    stored = await files.write(name, identity, in_pieces(content), digest)
    assert stored.size_bytes == len(content)
    assert digest.digest() == hashlib.sha256(content).digest()
    return FileToRead(object_name=name, identity=identity, key=stored.key, size_bytes=len(content))


async def read(files: MediaFiles, file: FileToRead, first: int = 0, last: int | None = None) -> bytes:
    last = file.size_bytes - 1 if last is None else last
    return b"".join([piece async for piece in files.read(file, first=first, last=last)])


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


async def test_nothing_of_the_content_is_stored(stored: Stored) -> None:
    planted = b"Diagnosis: planted text. "
    file = await write(stored.files, planted * 20_000)
    assert planted not in await stored.bytes_of(file)


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
async def test_what_was_altered_is_found_out(stored: Stored, alter) -> None:
    content = secrets.token_bytes(3 * CHUNK_BYTES)
    file = await write(stored.files, content)
    await stored.replace(file, alter(await stored.bytes_of(file)))
    with pytest.raises(MediaStoreError):
        await read(stored.files, file)


async def test_a_file_that_was_cut_off_does_not_pass_for_a_shorter_one(stored: Stored) -> None:
    """Not even where whoever cut it off could change its size in the database too."""
    file = await write(stored.files, secrets.token_bytes(3 * CHUNK_BYTES))
    await stored.replace(file, (await stored.bytes_of(file))[: 2 * SEALED_CHUNK_BYTES])
    with pytest.raises(FileAltered):
        await read(stored.files, replace(file, size_bytes=2 * CHUNK_BYTES))


async def test_a_file_opens_as_itself_only(files: MediaFiles) -> None:
    file = await write(files, b"secret")
    with pytest.raises(FileAltered):
        await read(files, replace(file, identity="mxc://hospital.example/other"))
    with pytest.raises(FileAltered):
        await read(files, replace(file, key=secrets.token_bytes(32)))


async def test_a_reader_may_be_slow_and_may_stop(files: MediaFiles) -> None:
    content = secrets.token_bytes(9 * CHUNK_BYTES)
    file = await write(files, content)
    async with aclosing(files.read(file, first=0, last=len(content) - 1)) as pieces:
        got = b""
        async for piece in pieces:
            got += piece
            if len(got) > 7 * CHUNK_BYTES:
                break
            await asyncio.sleep(0.05)
    assert content.startswith(got) and len(got) > 7 * CHUNK_BYTES


async def test_who_stops_reading_leaves_no_file_open(tmp_path: Path) -> None:
    files = MediaFiles(open_folder(tmp_path))
    file = await write(files, secrets.token_bytes(9 * CHUNK_BYTES))
    async with aclosing(files.read(file, first=0, last=9 * CHUNK_BYTES - 1)) as pieces:
        await anext(pieces)
        assert tmp_path in open_folders()
    assert tmp_path not in open_folders()


async def test_an_object_that_is_missing_is_told(stored: Stored) -> None:
    file = await write(stored.files, b"secret")
    await stored.remove(file)
    with pytest.raises(ObjectMissing):
        await read(stored.files, file)


async def test_an_object_that_is_removed_is_gone(stored: Stored) -> None:
    file = await write(stored.files, b"secret")
    for _ in range(2):  # nothing happens where there is none
        await stored.files.objects.delete(file.object_name)
    assert await stored.names() == set()


async def test_a_check_leaves_nothing(stored: Stored) -> None:
    await stored.files.objects.check()
    assert await stored.names() == set()


class Gone(Exception):
    pass


async def test_a_file_that_does_not_arrive_leaves_nothing(stored: Stored) -> None:
    async def breaks_off() -> AsyncIterator[bytes]:
        yield secrets.token_bytes(5 * CHUNK_BYTES)
        raise Gone

    with pytest.raises(Gone):
        await stored.files.write(new_object_name(), IDENTITY, breaks_off())
    assert await stored.names() == set()


async def test_a_write_that_is_given_up_leaves_nothing(stored: Stored) -> None:
    async def stands_still() -> AsyncIterator[bytes]:
        yield secrets.token_bytes(5 * CHUNK_BYTES)
        await asyncio.sleep(60)

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await stored.files.write(new_object_name(), IDENTITY, stands_still())
    for _ in range(100):  # what was begun is removed in the background
        left = await stored.names()
        if not left:
            return
        await asyncio.sleep(0.02)
    raise AssertionError(left)
