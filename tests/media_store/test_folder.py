"""Objects in a folder: what is particular to it."""

from pathlib import Path

import pytest

from tests.objects import full_disk, put
from tim_server.media_store.errors import NoSpaceLeft
from tim_server.media_store.files import new_object_name
from tim_server.media_store.folder import FolderObjects, open_folder


@pytest.fixture
def objects(tmp_path: Path) -> FolderObjects:
    return open_folder(tmp_path / "objects")


async def test_a_full_disk_is_told(objects: FolderObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(NoSpaceLeft), full_disk(monkeypatch):
        await put(objects, new_object_name(), b"sealed")
    assert [path for path in objects.folder.rglob("*") if path.is_file()] == []


async def test_removing_takes_the_remains_of_an_attempt_along(objects: FolderObjects) -> None:
    name = new_object_name()
    path = objects.folder / name
    path.parent.mkdir()
    path.with_name(f"{path.name}#").write_bytes(b"x")
    await objects.delete(name)
    await objects.delete(name)
    assert list(path.parent.iterdir()) == []
