"""Where bytes lie: a folder (`folder.py`) or a bucket (`bucket.py`).

An object is there as a whole or not at all.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from dataclasses import dataclass
from errno import EDQUOT, ENOSPC
from functools import partial
from typing import IO, Protocol, TypeVar

from tim_server.media_store.errors import MediaStoreError, NoSpaceLeft, ObjectMissing

THREADS_MAX = 8
"""A disk that does not answer must not keep the threads from everything else."""

Write = Callable[[memoryview], None]
T = TypeVar("T")

_threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="files")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object that lies in the store. `modified_ts` is by the store's clock; one that is not whole is being written,
    or is what is left of an attempt to."""

    name: str
    size_bytes: int
    modified_ts: int
    is_whole: bool = True


class Objects(Protocol):
    """Objects by name. Names are relative paths of plain letters and digits."""

    def draft(self, name: str) -> AbstractAsyncContextManager[Write]:
        """Write an object: what is given appends to it, and blocks, so that it is for a thread. The object is there and
        durable when the context is left; by an exception, nothing is left of it. Raises a `MediaStoreError`."""
        ...

    def read(self, name: str, start: int, end: int) -> AsyncGenerator[bytes | memoryview]:
        """The bytes from `start` up to `end`, fewer where the object ends before, in pieces, as they are asked for,
        each of which holds until the next one is; raises a `MediaStoreError`."""
        ...

    def list(self, folder: str) -> AsyncGenerator[StoredObject]:
        """What lies in a folder (what stands before the slash of names), in any order: whatever is there all the while,
        and of what comes or goes meanwhile some. Raises a `MediaStoreError`."""
        ...

    async def find(self, name: str) -> StoredObject | None:
        """A whole object, if there is one; raises a `MediaStoreError`."""

    async def delete(self, name: str) -> None:
        """Remove an object, and what is left of an attempt to write it; nothing happens where there is none. Raises a
        `MediaStoreError`."""

    async def check(self) -> None:
        """Find out whether objects can be written, read and removed; raises a `MediaStoreError`, `StoreRefused` where
        that takes a change of the configuration, or of the rights there."""

    async def close(self) -> None:
        """Close connections."""


def write_all(file: IO[bytes], part: memoryview) -> None:
    """Append to an unbuffered file, which may take less than it is given at a time; raises a `MediaStoreError`."""
    with errors_told():
        while part:
            part = part[file.write(part) :]


async def in_thread(call: Callable[..., T], *arguments: object) -> T:
    """What a blocking call returns. Who is cancelled meanwhile goes on once it has ended, so that nobody takes away
    what it works with."""
    work = begin_in_thread(partial(call, *arguments))
    try:
        return await asyncio.shield(work)
    finally:
        await settled(work)


def begin_in_thread(call: Callable[[], T]) -> "asyncio.Future[T]":
    """A blocking call that goes on. Whoever begins it waits for its end, `settled`, before taking anything away."""
    return asyncio.get_running_loop().run_in_executor(_threads, call)


async def settled(work: "asyncio.Future[T] | None") -> None:
    """Wait until work has ended, however it does, whoever is cancelled."""
    while work is not None and not work.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([work])
    if work is not None and not work.cancelled():
        work.exception()  # which counts as told: something else has gone wrong before


@contextmanager
def errors_told(kinds: tuple[type[Exception], ...] = (OSError,)) -> Iterator[None]:
    """Turn such errors into MediaStoreErrors."""
    try:
        yield
    except FileNotFoundError:
        raise ObjectMissing("a stored file is missing") from None
    except kinds as error:
        if getattr(error, "errno", None) in (ENOSPC, EDQUOT):
            raise NoSpaceLeft("there is no space left for files") from None
        raise MediaStoreError(f"files can't be written or read: {type(error).__name__}") from error
