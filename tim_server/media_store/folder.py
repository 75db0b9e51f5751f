"""Objects in a folder.

An object is there as a whole or not at all: it is written beside its place and moved there when it is complete. What a
process that was killed has left of one is removed with it, once `delete` is asked to.
"""

import ctypes
import os
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from tim_server.media_store.objects import StoredObject, Write, errors_told, in_thread, write_all
from tim_server.media_store.sealing import SEALED_CHUNK_BYTES

PIECE_BYTES = 2 * SEALED_CHUNK_BYTES
"""Read at once. Whole chunks, so that readers need not put any together."""

_FOLDER_MODE = 0o700
_FILE_MODE = 0o600
_SUFFIX = "#"


WRITE_BACK_BYTES = 4 * 1024 * 1024
"""After so many bytes the disk begins to write them, so that little is left for the end."""

_SYNC_FILE_RANGE_WRITE = 2


@dataclass(frozen=True, slots=True)
class FolderObjects:
    """The objects below a folder. Names are relative paths of plain letters and digits."""

    folder: Path

    @asynccontextmanager
    async def draft(self, name: str) -> AsyncIterator[Write]:
        """As in `Objects`: the object has reached the disk when the context is left."""
        path = self.folder / name
        draft = path.with_name(path.name + _SUFFIX)
        try:
            with errors_told():
                file = await in_thread(_new_file, draft)
            with file:
                yield _Draft(file).write
                with errors_told():
                    await in_thread(os.fsync, file.fileno())
            with errors_told():
                await in_thread(_put_in_place, draft, path, self.folder)
        except BaseException:
            with suppress(OSError):
                _remove(path)
            raise

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[memoryview]:
        """As in `Objects`. Each piece has the memory of the one before: fresh memory costs more than reading does."""
        with errors_told():
            file = await in_thread(partial(open, self.folder / name, "rb", buffering=0))
        with file:
            buffer = memoryview(bytearray(min(PIECE_BYTES, end - start)))
            while start < end:
                with errors_told():
                    count = await _read_into(file.fileno(), buffer[: end - start], start)
                if count == 0:
                    return
                yield buffer[:count]
                start += count

    async def list(self, folder: str) -> AsyncGenerator[StoredObject]:
        """As in `Objects`, in one piece: a folder holds a small part of all."""
        with errors_told():
            found = await in_thread(_scan, self.folder / folder, folder)
        for each in found:
            yield each

    async def find(self, name: str) -> StoredObject | None:
        """As in `Objects`."""
        with errors_told():
            return await in_thread(_find, self.folder / name, name)

    async def delete(self, name: str) -> None:
        """Remove an object, and what is left of an attempt to write it; nothing happens where there is none."""
        with errors_told():
            await in_thread(_remove, self.folder / name)

    async def check(self) -> None:
        """Nothing to do: opening has made the folder."""

    async def close(self) -> None:
        """Nothing to do."""


def open_folder(folder: Path) -> FolderObjects:
    """The objects in a folder, which is made where it is missing; raises OSError."""
    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    return FolderObjects(folder)


@dataclass(slots=True)
class _Draft:
    """A file that is being written, and how much of it is on its way to the disk."""

    file: IO[bytes]
    size_bytes: int = 0
    begun_bytes: int = 0

    def write(self, part: memoryview) -> None:
        """Append to the file; raises a `MediaStoreError`."""
        write_all(self.file, part)
        self.size_bytes += len(part)
        if (count := self.size_bytes - self.begun_bytes) >= WRITE_BACK_BYTES:
            _write_back(self.file.fileno(), self.begun_bytes, count)
            self.begun_bytes = self.size_bytes


def _write_back(descriptor: int, start: int, count: int) -> None:
    """Have the disk begin to write a part of a file. Whether it can is found out at the end."""
    with suppress(AttributeError):  # a C library without it
        ctypes.CDLL(None).sync_file_range(
            descriptor, ctypes.c_int64(start), ctypes.c_int64(count), _SYNC_FILE_RANGE_WRITE
        )


async def _read_into(descriptor: int, buffer: memoryview, start: int) -> int:
    """Fill the buffer with what the file has from `start`; how many bytes it was. What the system holds in memory is
    taken at once, for the rest a thread waits for the disk."""
    count = 0
    with suppress(OSError):  # what is wrong but that it takes time, the thread meets too
        count = os.preadv(descriptor, [buffer], start, os.RWF_NOWAIT)
    if count < len(buffer):
        count += await in_thread(_fill, descriptor, buffer[count:], start + count)
    return count


def _fill(descriptor: int, buffer: memoryview, start: int) -> int:
    count = 0
    while count < len(buffer) and (more := os.preadv(descriptor, [buffer[count:]], start + count)):
        count += more
    return count


def _new_file(path: Path) -> IO[bytes]:
    """Without a buffer: one that a full disk has not taken would be written once more where the file is closed."""
    path.parent.mkdir(mode=_FOLDER_MODE, exist_ok=True)
    return open(path, "xb", buffering=0, opener=partial(os.open, mode=_FILE_MODE))


def _put_in_place(draft: Path, path: Path, root: Path) -> None:
    """Give a file its name, and have the folders reach the disk that tell of it."""
    draft.rename(path)
    for each in path.parents:
        descriptor = os.open(each, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if each == root:
            return


def _scan(path: Path, folder: str) -> list[StoredObject]:
    """The files in a folder, none where there is no folder. What is removed meanwhile is left out."""
    try:
        with os.scandir(path) as entries:
            found = [_find(Path(entry.path), f"{folder}/{entry.name}") for entry in entries]
    except FileNotFoundError:
        return []
    return [each for each in found if each is not None]


def _find(path: Path, name: str) -> StoredObject | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return StoredObject(
        name=name.removesuffix(_SUFFIX),
        size_bytes=status.st_size,
        modified_ts=status.st_mtime_ns // 1_000_000,
        is_whole=not name.endswith(_SUFFIX),
    )


def _remove(path: Path) -> None:
    for each in (path, path.with_name(path.name + _SUFFIX)):
        each.unlink(missing_ok=True)
