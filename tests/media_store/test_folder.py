"""Objects in a folder: what is particular to it."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from obstore.exceptions import GenericError

from tim_server.media_store.errors import NoSpaceLeft
from tim_server.media_store.files import new_object_name
from tim_server.media_store.folder import FolderObjects, open_folder


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return open_folder(tmp_path / "objects")


async def parts(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield secrets.token_bytes(100_000)


async def test_a_full_disk_is_told(objects: FolderObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(*_: object, **__: object) -> None:
        raise GenericError("Unable to copy data to file: No space left on device (os error 28)")

    monkeypatch.setattr("obstore.put_async", full)
    with pytest.raises(NoSpaceLeft):
        await objects.put(new_object_name(), parts(1))


async def test_removing_takes_the_remains_of_an_attempt_along(objects: FolderObjects) -> None:
    name = new_object_name()
    path = objects.folder / name
    path.parent.mkdir()
    path.with_name(f"{path.name}#1").write_bytes(b"x")
    await objects.delete(name)
    await objects.delete(name)
    assert list(path.parent.iterdir()) == []
