"""Objects in a folder.

An object is there as a whole or not at all: it is written beside its place and moved there when it is complete. What a
process that was killed has left of one is removed with it, once `delete` is asked to.
"""

import asyncio
import os
import re
import stat
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from tim_server.media_store.objects import LETTING_GO_S, StoredObject, errors_told
from tim_server.media_store.sealing import SEALED_CHUNK_BYTES

if TYPE_CHECKING:
    from obstore.store import LocalStore

PART_BYTES = 512 * 1024
PIECE_BYTES = 4 * SEALED_CHUNK_BYTES
"""Read at once. Whole chunks, so that readers need not put any together."""

PARTS_IN_FLIGHT_MAX = 1
_FOLDER_MODE = 0o700
_REMAINS = re.compile(r"(.+)#\d+")


@dataclass(frozen=True, slots=True)
class FolderObjects:
    """The objects below a folder. Names are relative paths of plain letters and digits."""

    folder: Path
    _store: "LocalStore"
    _broken_off: "set[asyncio.Task[None]]" = field(default_factory=set)

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> None:
        """Write an object, which has reached the disk when this returns; raises what `parts` raises, and then nothing
        is left, or a `MediaStoreError`."""
        try:
            with errors_told():
                await self._put(name, parts)
                await asyncio.to_thread(_sync, self.folder / name, self.folder)
        except BaseException:
            task = asyncio.create_task(asyncio.sleep(LETTING_GO_S))
            self._broken_off.add(task)
            task.add_done_callback(self._broken_off.discard)
            raise

    async def _put(self, name: str, parts: AsyncIterator[bytes]) -> None:
        import obstore

        await obstore.put_async(
            self._store,
            name,
            parts,
            use_multipart=True,
            chunk_size=PART_BYTES,
            max_concurrency=PARTS_IN_FLIGHT_MAX,
        )

    async def read(self, name: str, start: int, end: int) -> AsyncGenerator[memoryview]:
        """As in `Objects`. Each piece has the memory of the one before: fresh memory costs more than reading does."""
        with errors_told():
            descriptor = await asyncio.to_thread(os.open, self.folder / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            buffer = memoryview(bytearray(min(PIECE_BYTES, end - start)))
            while start < end:
                with errors_told():
                    count = await _read_into(descriptor, buffer[: end - start], start)
                if count == 0:
                    return
                yield buffer[:count]
                start += count
        finally:
            os.close(descriptor)

    async def list(self, folder: str) -> AsyncGenerator[StoredObject]:
        """As in `Objects`, in one piece: a folder holds a small part of all."""
        with errors_told():
            found = await asyncio.to_thread(_scan, self.folder / folder, folder)
        for each in found:
            yield each

    async def find(self, name: str) -> StoredObject | None:
        """As in `Objects`."""
        with errors_told():
            return await asyncio.to_thread(_find, self.folder / name, name)

    async def delete(self, name: str) -> None:
        """Remove an object, and what is left of an attempt to write it; nothing happens where there is none."""
        import obstore

        with errors_told():
            await asyncio.to_thread(_remove_remains, self.folder / name)
            try:
                await obstore.delete_async(self._store, name)
            except FileNotFoundError:
                return

    async def check(self) -> None:
        """Nothing to do: opening has made the folder."""

    async def close(self) -> None:
        """Wait for what was broken off just now: threads of the object store still let go of it, and abort a process
        that ends meanwhile."""
        await asyncio.gather(*self._broken_off)


def open_folder(folder: Path) -> FolderObjects:
    """The objects in a folder, which is made where it is missing; raises OSError."""
    from obstore.store import LocalStore

    folder.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
    return FolderObjects(folder, LocalStore(folder))


async def _read_into(descriptor: int, buffer: memoryview, start: int) -> int:
    """Fill the buffer with what the file has from `start`; how many bytes it was. What the system holds in memory is
    taken at once, for the rest a thread waits for the disk."""
    count = 0
    with suppress(OSError):  # what is wrong but that it takes time, the thread meets too
        count = os.preadv(descriptor, [buffer], start, os.RWF_NOWAIT)
    if count < len(buffer):
        count += await asyncio.to_thread(_fill, descriptor, buffer[count:], start + count)
    return count


def _fill(descriptor: int, buffer: memoryview, start: int) -> int:
    count = 0
    while count < len(buffer) and (more := os.preadv(descriptor, [buffer[count:]], start + count)):
        count += more
    return count


def _sync(path: Path, root: Path) -> None:
    """Have a file reach the disk, and the folders that name it."""
    for each in (path, *path.parents):
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
    remains = _REMAINS.fullmatch(name)
    return StoredObject(
        name=remains[1] if remains else name,
        size_bytes=status.st_size,
        modified_ts=status.st_mtime_ns // 1_000_000,
        is_whole=remains is None,
    )


def _remove_remains(path: Path) -> None:
    """The object store writes `name#1` before it moves it to `name`."""
    for remains in path.parent.glob(f"{path.name}#*"):
        remains.unlink(missing_ok=True)
