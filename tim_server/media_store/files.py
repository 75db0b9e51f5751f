"""Files: written as they arrive and read as they are sent, some chunks in memory at a time.

stored = await files.write(name, "mxc://hospital.example/abc", arriving)
async for piece in files.read(FileToRead(...), first=0, last=99): ...
"""

import asyncio
import hashlib
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from tim_server.media_store.errors import FileAltered
from tim_server.media_store.objects import Objects
from tim_server.media_store.sealing import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    FileCipher,
    chunk_count,
    new_file_key,
    sealed_size,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that was written: its key, its size and the SHA-256 of what was sealed."""

    key: bytes
    size_bytes: int
    sha256: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class FileToRead:
    """What it takes to read a file. `identity` must be what it was written as."""

    object_name: str
    identity: str
    key: bytes
    size_bytes: int


FOLDERS = tuple(f"{number:02x}" for number in range(256))
"""The folders of objects."""


def new_object_name() -> str:
    """A name that no object has. The first two digits are a folder, so that none holds too many."""
    digits = secrets.token_hex(20)
    return f"{digits[:2]}/{digits[2:]}"


@dataclass(frozen=True, slots=True)
class MediaFiles:
    """Reads and writes sealed files."""

    objects: Objects

    async def write(self, object_name: str, identity: str, pieces: AsyncIterator[bytes]) -> StoredFile:
        """Seal and store what arrives; raises what `pieces` raises, and then nothing is stored, or a
        `MediaStoreError`."""
        arriving = _Arriving(FileCipher(key := new_file_key(), identity))
        await self.objects.put(object_name, arriving.seal(pieces))
        return StoredFile(key=key, size_bytes=arriving.size_bytes, sha256=arriving.digest.digest())

    async def read(self, file: FileToRead, *, first: int, last: int) -> AsyncGenerator[bytes]:
        """The bytes from `first` up to and including `last`, which the file must have; an empty file gives none for
        -1. Raises a `MediaStoreError`, `FileAltered` before any byte that was not written."""
        cipher = FileCipher(file.key, file.identity)
        last_of_file = chunk_count(file.size_bytes) - 1
        number, end = first // CHUNK_BYTES, max(0, last) // CHUNK_BYTES + 1
        end_of_bytes = min(end * SEALED_CHUNK_BYTES, sealed_size(file.size_bytes))
        arriving = self.objects.read(file.object_name, number * SEALED_CHUNK_BYTES, end_of_bytes)
        async with aclosing(_whole_chunks(arriving)) as chunks:
            async for sealed in chunks:
                chunk = cipher.open(sealed, number, is_last=number == last_of_file)
                begin = number * CHUNK_BYTES
                wanted = chunk[max(0, first - begin) : max(0, last + 1 - begin)]
                if wanted:
                    yield wanted
                number += 1
        if number < end:
            raise FileAltered(f"chunk {number} of a file is missing")


async def _whole_chunks(arriving: AsyncGenerator[bytes | memoryview]) -> AsyncGenerator[memoryview]:
    """What arrives, cut where sealed chunks end; the last may be shorter. Each holds until the next is asked for."""
    rest = b""
    async with aclosing(arriving):
        async for piece in arriving:
            held = memoryview(rest + piece if rest else piece)
            whole = len(held) - len(held) % SEALED_CHUNK_BYTES
            for start in range(0, whole, SEALED_CHUNK_BYTES):
                yield held[start : start + SEALED_CHUNK_BYTES]
            rest = bytes(held[whole:])
    if rest:
        yield memoryview(rest)


class _Arriving:
    """A file while it is sealed."""

    def __init__(self, cipher: FileCipher) -> None:
        self.size_bytes = 0
        self.digest = hashlib.sha256()
        self._cipher = cipher

    async def seal(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The sealed chunks. The last one is known only once nothing comes after it. While one is hashed, which takes
        longest and a thread does, the next arrives."""
        number, held = 0, bytearray()
        hashing: asyncio.Task[None] | None = None
        async for piece in pieces:
            held += piece
            while len(held) > CHUNK_BYTES:
                with memoryview(held) as view:
                    chunk = bytes(view[:CHUNK_BYTES])
                del held[:CHUNK_BYTES]
                if hashing is not None:
                    await hashing
                hashing = asyncio.create_task(asyncio.to_thread(self.digest.update, chunk))
                yield self._seal(chunk, number, is_last=False)
                number += 1
        if hashing is not None:
            await hashing
        self.digest.update(held)
        yield self._seal(bytes(held), number, is_last=True)

    def _seal(self, chunk: bytes, number: int, *, is_last: bool) -> bytes:
        self.size_bytes += len(chunk)
        return self._cipher.seal(chunk, number, is_last=is_last)
