"""Objects that are written in tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tim_server.media_store.objects import Objects


async def put(objects: Objects, name: str, *parts: bytes) -> None:
    """Write an object."""
    async with objects.draft(name) as write:
        for part in parts:
            write(memoryview(part))


@contextmanager
def full_disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Folders whose disk takes no more bytes."""

    def new_file(path: Path) -> IO[bytes]:
        return Path("/dev/full").open("wb", buffering=0)

    with monkeypatch.context() as patched:
        patched.setattr("tim_server.media_store.folder._new_file", new_file)
        yield
