"""The media store is held against the database while files come and go. In a folder, and in a bucket."""

import asyncio
import itertools
import secrets
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import obstore
import pytest
from obstore.store import LocalStore, S3Store

from tests.s3 import S3, names_in, run_s3
from tests.services.media.test_reap import CODEC, SERVER_NAME, TIMEOUT_S, arriving, noted, pieces_of
from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.media_store.bucket import BucketPlace, open_bucket
from tim_server.media_store.files import FOLDERS, MediaFiles, new_object_name
from tim_server.media_store.folder import FolderObjects, open_folder
from tim_server.media_store.objects import Objects
from tim_server.media_store.sealing import CHUNK_BYTES
from tim_server.media_store.thumbnails import Thumbnail
from tim_server.services.media import check, keep, mend
from tim_server.services.media.check import MediaCheck, Tally, Watch
from tim_server.services.media.keep import MediaKeeping
from tim_server.services.media.mend import LostForgetting, OrphanRemoval
from tim_server.services.media.reap import LeftoverReaping
from tim_server.services.media.stored_objects import Finding, Trouble, kind_of
from tim_server.storage.media import Medium, find_medium, insert_medium, note_object
from tim_server.storage.media_objects import doom_unknown, unknown_among
from tim_server.storage.store import Store

BUCKET = "files"
OTHER = ServerName("other.example")


@dataclass
class Clock:
    """Real time, from which a test may run away."""

    ahead_ms: int = 0

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.ahead_ms


@dataclass
class Archive:
    """Files, the database that knows them, and what checks them."""

    store: Store
    objects: Objects
    behind: LocalStore | S3Store
    clock: Clock = field(default_factory=Clock)
    found: list[Finding] = field(default_factory=list)

    @property
    def keeping(self) -> MediaKeeping:
        files = MediaFiles(self.objects)
        return MediaKeeping(writer=self.store.writer, codec=CODEC, files=files, now_ms=self.clock.now)

    async def keep(self, content: bytes = b"content", **changed: Any) -> Medium:
        """A file, uploaded unless it is changed to be of another."""
        medium = await self.keeping.keep(replace(arriving(pieces_of(content)), **changed), timeout_s=TIMEOUT_S)
        assert medium is not None
        return medium

    async def put(self, name: str | None = None) -> str:
        """An object that nothing refers to; its name."""
        name = name or new_object_name()
        await obstore.put_async(self.behind, name, b"sealed once")
        return name

    async def check(self, **options: Any) -> Tally:
        """Check, later than all that was written, unless `young_ms` says otherwise."""
        self.found.clear()
        young_ms = options.pop("young_ms", -10_000)
        options = {"reads": False, **options}
        service = MediaCheck(
            server_name=SERVER_NAME,
            database=self.store.database,
            codec=CODEC,
            files=MediaFiles(self.objects),
            young_ms=young_ms,
            now_ms=self.clock.now,
        )
        return await service.run(Watch(found=self.found.append, progress=lambda *_: None), **options)

    async def remove_orphans(self, *, young_ms: int = -10_000) -> int:
        reaping = LeftoverReaping(database=self.store.database, objects=self.objects, now_ms=self.clock.now)
        removal = OrphanRemoval(
            server_name=SERVER_NAME,
            database=self.store.database,
            objects=self.objects,
            reaping=reaping,
            young_ms=young_ms,
            now_ms=self.clock.now,
        )
        return await removal.remove(lambda *_: None)

    def forgetting(self) -> LostForgetting:
        return LostForgetting(server_name=SERVER_NAME, database=self.store.database, now_ms=self.clock.now)

    def told(self) -> set[tuple[Trouble, str]]:
        return {(each.trouble, each.object_name) for each in self.found}

    async def audited(self) -> list[str]:
        async with self.store.database.connection() as connection:
            return [row[0] for row in await connection.fetch("SELECT action FROM audit_log ORDER BY 1")]


@pytest.fixture(scope="module")
async def s3() -> AsyncIterator[S3]:
    async with run_s3() as store:
        yield store


@pytest.fixture(autouse=True)
def few_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 256 folders some, since a store for tests takes long to list a folder. All are looked at in tests/cli."""
    folders, digits = (FOLDERS[0], "ab", FOLDERS[-1]), itertools.cycle(("00", "ab", "ff"))
    for module in (check, mend):
        monkeypatch.setattr(module, "FOLDERS", folders)
    for module in (keep, sys.modules[__name__]):
        monkeypatch.setattr(module, "new_object_name", lambda: f"{next(digits)}/{secrets.token_hex(19)}")


@pytest.fixture(params=["folder", "bucket"])
async def archive(request: pytest.FixtureRequest, store: Store, s3: S3, tmp_path: Path) -> AsyncIterator[Archive]:
    async with store.database.transaction() as tx:
        for table in ("media", "thumbnails", "media_leftovers", "audit_log"):
            await tx.execute(f"DELETE FROM {table}")
    objects: Objects
    if request.param == "folder":
        objects = folder = open_folder(tmp_path / "objects")
        yield Archive(store, objects, LocalStore(folder.folder))
    else:
        bucket, prefix = f"files-{secrets.token_hex(8)}", "tim/"
        await s3.make_bucket(bucket)
        place = BucketPlace(prefix=prefix, timeout_s=30.0, **s3.options(bucket))
        objects = open_bucket(place, tmp_path / "arriving")
        behind = S3Store(
            bucket,
            **{name: value for name, value in s3.options(bucket).items() if name != "bucket"},
            prefix=prefix,
            client_options={"allow_http": True},
        )
        yield Archive(store, objects, behind)
    await objects.close()


async def test_what_belongs_together_is_found_to(archive: Archive) -> None:
    await archive.keep(b"")
    await archive.keep(b"x" * (CHUNK_BYTES + 1))
    medium = await archive.keep(user_id=None, server_name=OTHER)
    thumbnail = Thumbnail(content=b"small", content_type="image/png")
    await archive.keeping.keep_thumbnail(medium, "crop-32x32", thumbnail, timeout_s=TIMEOUT_S)
    for reads in (False, True):
        tally = await archive.check(reads=reads)
        assert (tally.files, tally.objects, tally.orphans, archive.found) == (4, 4, 0, [])
        assert not tally.lost
    assert tally.read_bytes == CHUNK_BYTES + 1 + len(b"content") + len(b"small")


async def test_what_is_lost_is_told_with_what_it_was(archive: Archive) -> None:
    await archive.keep()
    upload, copy = await archive.keep(), await archive.keep(user_id=None, server_name=OTHER)
    picture, short = await archive.keep(user_id=None), await archive.keep()
    for medium in (upload, copy, picture):
        await obstore.delete_async(archive.behind, medium.object_name)
    await obstore.put_async(archive.behind, short.object_name, b"short")
    tally = await archive.check()
    assert tally.lost == {"upload": 2, "copy": 1, "picture": 1}
    gone = {(Trouble.MISSING, each.object_name) for each in (upload, copy, picture)}
    assert archive.told() == {*gone, (Trouble.WRONG_SIZE, short.object_name)}
    ids = {each.referred.media_id for each in archive.found if each.referred is not None}
    assert ids == {each.media_id for each in (upload, copy, picture, short)}


async def test_what_does_not_open_is_found_by_reading(archive: Archive) -> None:
    one, other = await archive.keep(b"first one"), await archive.keep(b"other one")
    content = await (await obstore.get_async(archive.behind, one.object_name)).bytes_async()
    await obstore.put_async(archive.behind, other.object_name, bytes(content))
    assert not (await archive.check()).lost
    assert (await archive.check(reads=True)).lost == {"upload": 1}
    assert archive.told() == {(Trouble.ALTERED, other.object_name)}


async def test_what_nothing_refers_to_is_told_and_removed(archive: Archive) -> None:
    medium = await archive.keep()
    names = {
        await archive.put(),
        await archive.put(f"{FOLDERS[0]}/{'0' * 38}"),
        await archive.put("ab/" + "1" * 38),
    }
    tally = await archive.check()
    assert archive.told() == {(Trouble.ORPHAN, name) for name in names}
    assert (tally.orphans, tally.orphans_bytes, tally.objects, tally.files) == (3, 33, 4, 1)
    assert not tally.lost and await archive.audited() == []
    assert await archive.remove_orphans() == 3
    assert await names_in(archive.behind) == {medium.object_name}
    assert await archive.audited() == ["media.remove_orphans"]
    assert await noted(archive.store) == set()
    assert (await archive.check()).orphans == 0
    assert await archive.remove_orphans() == 0 and await archive.audited() == ["media.remove_orphans"]


async def test_what_is_young_stays(archive: Archive) -> None:
    name = await archive.put()
    tally = await archive.check(young_ms=60_000)
    assert (tally.orphans, tally.young) == (0, 1) and archive.found == []
    assert await archive.remove_orphans(young_ms=60_000) == 0
    archive.clock.ahead_ms = 120_000
    assert (await archive.check(young_ms=60_000)).orphans == 1
    assert await archive.remove_orphans(young_ms=60_000) == 1
    assert name not in await names_in(archive.behind)


async def test_what_a_killed_upload_has_left_is_removed(archive: Archive) -> None:
    """Its note was taken back by a restore. In a folder it may be half a file; in a bucket that is never there."""
    if not isinstance(archive.objects, FolderObjects):
        return
    folder, upload = archive.objects.folder / "ab", await archive.keep()
    folder.mkdir(exist_ok=True)
    (folder / f"{'1' * 38}#").write_bytes(b"half")
    path = archive.objects.folder / upload.object_name
    path.rename(path.with_name(f"{path.name}#"))
    tally = await archive.check()
    assert (tally.orphans, tally.lost) == (1, {"upload": 1})
    assert archive.told() == {(Trouble.ORPHAN, f"ab/{'1' * 38}"), (Trouble.MISSING, upload.object_name)}
    assert await archive.remove_orphans() == 1
    assert [each.name for each in archive.objects.folder.rglob("*#")] == [f"{path.name}#"]


async def test_what_others_have_put_there_stays(archive: Archive) -> None:
    name = await archive.put("ab/notes.txt")
    tally = await archive.check()
    assert (tally.strange, tally.orphans, tally.objects) == (1, 0, 0)
    assert await archive.remove_orphans() == 0 and await names_in(archive.behind) == {name}


async def test_a_file_that_arrives_meanwhile_stays(archive: Archive) -> None:
    """However old it looks: it is noted, then a file."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"x" * 3_000_000
        begun.set()
        await go_on.wait()
        yield b"x"

    async with asyncio.timeout(30):
        uploading = asyncio.create_task(archive.keeping.keep(arriving(slowly()), timeout_s=TIMEOUT_S))
        await begun.wait()
        await archive.check()
        assert archive.found == [] and await archive.remove_orphans() == 0
        go_on.set()
        medium = await uploading
    assert medium is not None
    assert not (await archive.check(reads=True)).lost and archive.found == []


async def test_a_file_that_becomes_known_in_between_stays(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """It lay in the store when that was listed, and was no file when the database was asked for files."""
    medium = await archive.keep()
    async with archive.store.database.transaction() as tx:
        await tx.execute("DELETE FROM media")
        await note_object(tx, medium.object_name, due_ts=archive.clock.now() + 60_000)
    asked = check.thumbnail_objects

    async def becomes_known(tx: Any, **within: Any) -> Any:
        if within["after"] == f"{medium.object_name[:2]}/":
            async with archive.store.database.transaction() as another:
                assert await insert_medium(another, CODEC, medium)
        return await asked(tx, **within)

    monkeypatch.setattr(check, "thumbnail_objects", becomes_known)
    tally = await archive.check()
    assert (tally.orphans, tally.noted, archive.found) == (0, 1, [])


async def test_a_file_that_is_becoming_known_is_not_doomed(archive: Archive) -> None:
    """Its commit is under way while objects that nothing refers to are doomed."""
    medium = await archive.keep()
    async with archive.store.database.transaction() as tx:
        await tx.execute("DELETE FROM media")
        await note_object(tx, medium.object_name, due_ts=archive.clock.now() + 60_000)

    async def doom() -> list[str]:
        async with archive.store.database.transaction() as another:
            return await doom_unknown(another, [medium.object_name], now=archive.clock.now())

    async with archive.store.database.transaction() as tx:
        assert await insert_medium(tx, CODEC, medium)
        async with asyncio.timeout(5):
            assert await doom() == []
    async with archive.store.database.connection() as connection:
        assert await find_medium(connection, CODEC, SERVER_NAME, medium.media_id) == medium
        assert await unknown_among(connection, [medium.object_name]) == set()
    assert await noted(archive.store) == set()


async def test_files_that_come_and_go_meanwhile_are_not_lost(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """One is uploaded after its folder was listed; another is deleted after the database had it."""
    going, coming = await archive.keep(), []
    listed = check.own_objects

    async def list_and_upload(objects: Objects, folder: str) -> Any:
        found = await listed(objects, folder)
        if going.object_name in found[0] and not coming:
            monkeypatch.setattr("tim_server.services.media.keep.new_object_name", lambda: f"{folder}/{'f' * 38}")
            coming.append(await archive.keep())
            await obstore.delete_async(archive.behind, going.object_name)
            found[0].pop(going.object_name)
        return found

    asked = check.files_among

    async def delete_and_ask(tx: Any, names: Any) -> Any:
        await tx.execute("DELETE FROM media WHERE object_name = $1", going.object_name)
        return await asked(tx, names)

    monkeypatch.setattr(check, "own_objects", list_and_upload)
    monkeypatch.setattr(check, "files_among", delete_and_ask)
    tally = await archive.check()
    assert len(coming) == 1 and not tally.lost and archive.found == []


async def test_uploads_while_it_removes_lose_nothing(archive: Archive) -> None:
    kept: list[Medium] = []
    is_done = asyncio.Event()

    async def keep_uploading() -> None:
        while not is_done.is_set():
            kept.append(await archive.keep(secrets.token_bytes(1_000)))

    uploading = [asyncio.create_task(keep_uploading()) for _ in range(3)]
    async with asyncio.timeout(60):
        while len(kept) < 10:
            names = [await archive.put() for _ in range(3)]
            await archive.check()
            assert archive.told() == {(Trouble.ORPHAN, name) for name in names}
            assert await archive.remove_orphans() == len(names)
    is_done.set()
    await asyncio.gather(*uploading)
    stored = await names_in(archive.behind)
    assert {each.object_name for each in kept} <= stored


async def test_lost_thumbnails_and_copies_are_forgotten_where_that_is_wanted(archive: Archive) -> None:
    upload, copy = await archive.keep(), await archive.keep(user_id=None, server_name=OTHER)
    picture = await archive.keep(user_id=None)
    small = Thumbnail(content=b"small", content_type="image/png")
    for variant in ("crop-32x32", "crop-64x64"):
        await archive.keeping.keep_thumbnail(upload, variant, small, timeout_s=TIMEOUT_S)
    for name in await names_in(archive.behind):
        await obstore.delete_async(archive.behind, name)
    lost = {"upload": 1, "copy": 1, "picture": 1, "thumbnail": 2}
    assert (await archive.check()).lost == lost and await archive.audited() == []
    assert (await archive.check(forgetting=archive.forgetting())).lost == lost
    assert await archive.audited() == ["media.forget_lost"]
    tally = await archive.check()
    assert (tally.files, tally.lost) == (1, {"upload": 1})
    async with archive.store.database.connection() as connection:
        assert await find_medium(connection, CODEC, SERVER_NAME, upload.media_id) == upload
        assert await find_medium(connection, CODEC, OTHER, copy.media_id) is None
        assert await find_medium(connection, CODEC, SERVER_NAME, picture.media_id) is None


async def test_many_files_are_checked_in_steps(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "OBJECTS_PER_STEP", 2)
    numbers = iter(range(1_000))
    monkeypatch.setattr("tim_server.services.media.keep.new_object_name", lambda: f"ab/{next(numbers):038x}")
    for number in range(7):
        await archive.keep(media_id=MediaId(f"medium{number}"))
    for _ in range(5):
        await archive.put(f"ab/f{next(numbers):037x}")
    tally = await archive.check(reads=True)
    assert (tally.files, tally.orphans, len(tally.lost)) == (7, 5, 0)


def test_a_thumbnail_of_a_copy_is_a_thumbnail() -> None:
    assert kind_of(Finding(trouble=Trouble.ORPHAN, object_name="ab/cd"), SERVER_NAME) == "nothing"
