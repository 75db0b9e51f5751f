"""Files: written as they arrive and read as they are sent, some chunks in memory at a time.

stored = await files.write(name, "mxc://hospital.example/abc", arriving)
async for piece in files.read(FileToRead(...), first=0, last=99): ...
"""

import asyncio
import secrets
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from tim_server.media_store.errors import FileAltered
from tim_server.media_store.objects import Objects, Write, begin_in_thread, settled
from tim_server.media_store.sealing import (
    CHUNK_BYTES,
    SEALED_CHUNK_BYTES,
    FileCipher,
    chunk_count,
    new_file_key,
    sealed_size,
)

PART_BYTES = 2 * CHUNK_BYTES
"""What a thread works on at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file that was written: its key and its size."""

    key: bytes
    size_bytes: int


class Digest(Protocol):
    """What is told of all bytes of a file, in order; from a thread."""

    def update(self, part: memoryview, /) -> object:
        """Take what comes next."""


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

    async def write(
        self, object_name: str, identity: str, pieces: AsyncIterator[bytes], digest: Digest | None = None
    ) -> StoredFile:
        """Seal and store what arrives; raises what `pieces` raises, and then nothing is stored, or a
        `MediaStoreError`."""
        async with self.objects.draft(object_name) as write:
            arriving = _Arriving(FileCipher(key := new_file_key(), identity), write, digest)
            await arriving.take(pieces)
        return StoredFile(key=key, size_bytes=arriving.size_bytes)

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
    """A file while it is sealed: a part of it gathers while a thread hashes, seals and writes the one before."""

    def __init__(self, cipher: FileCipher, write: Write, digest: Digest | None) -> None:
        self.size_bytes = 0
        self._digest = digest
        self._cipher = cipher
        self._write = write
        self._gathered = 0
        # In one piece, which is so large that it is given back to the system at once.
        memory = memoryview(bytearray(2 * PART_BYTES + SEALED_CHUNK_BYTES))
        self._gathering, self._other = memory[:PART_BYTES], memory[PART_BYTES : 2 * PART_BYTES]
        self._sealed = memory[2 * PART_BYTES :]
        self._work: asyncio.Future[None] | None = None

    async def take(self, pieces: AsyncIterator[bytes]) -> None:
        """Take all that arrives. What has gathered is sealed once more comes: its last chunk is not the last one."""
        try:
            async for piece in pieces:
                left = memoryview(piece)
                while left:
                    if self._gathered == PART_BYTES:
                        await self._hand_over(is_end=False)
                    some = left[: PART_BYTES - self._gathered]
                    self._gathering[self._gathered : self._gathered + len(some)] = some
                    self._gathered += len(some)
                    left = left[len(some) :]
            await self._hand_over(is_end=True)
            await self._last_work()
        finally:
            await settled(self._work)

    async def _hand_over(self, *, is_end: bool) -> None:
        await self._last_work()
        part = self._gathering[: self._gathered]
        seal = partial(self._seal, part, self.size_bytes // CHUNK_BYTES, is_end=is_end)
        self._work = begin_in_thread(seal)
        self.size_bytes += self._gathered
        self._gathering, self._other, self._gathered = self._other, self._gathering, 0

    async def _last_work(self) -> None:
        if self._work is not None:
            await asyncio.shield(self._work)

    def _seal(self, part: memoryview, number: int, *, is_end: bool) -> None:
        if self._digest is not None:
            self._digest.update(part)
        count = chunk_count(len(part))
        for index in range(count):
            chunk = part[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES]
            sealed = self._sealed[: sealed_size(len(chunk))]
            self._cipher.seal(chunk, number + index, is_last=is_end and index == count - 1, into=sealed)
            self._write(sealed)
