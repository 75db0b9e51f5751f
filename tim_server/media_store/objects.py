"""Where bytes lie: a folder (`folder.py`) or a bucket (`bucket.py`).

An object is there as a whole or not at all.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

from tim_server.media_store.errors import MediaStoreError, NoSpaceLeft, ObjectMissing

LETTING_GO_S = 0.5
"""How long threads of obstore go on with what was broken off. A process that ends meanwhile is aborted."""

_FULL = ("os error 28", "os error 122")  # ENOSPC and EDQUOT, as they end up in texts


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

    async def put(self, name: str, parts: AsyncIterator[bytes]) -> None:
        """Write an object, which is durable when this returns; raises what `parts` raises, and then nothing is left, or
        a `MediaStoreError`."""

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
        """Wait for what was broken off just now, and close connections."""


@contextmanager
def errors_told() -> Iterator[None]:
    """Turn what obstore and the system raise into MediaStoreErrors."""
    from obstore.exceptions import BaseError

    try:
        yield
    except FileNotFoundError:
        raise ObjectMissing("a stored file is missing") from None
    except (BaseError, OSError) as error:
        if any(sign in str(error) for sign in _FULL) or getattr(error, "errno", None) in (28, 122):
            raise NoSpaceLeft("there is no space left for files") from None
        raise MediaStoreError(f"files can't be written or read: {type(error).__name__}") from error
