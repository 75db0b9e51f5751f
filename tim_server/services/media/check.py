"""Hold the media store against the database: what is lost, and what nothing refers to, as after a restore of one
without the other. The server may run meanwhile.

A folder of the store at a time is listed, which is a 256th of all, and what the database has in that folder is held
against it. What differs is looked at once more, since files come and go meanwhile: a file is lost if its object is
missing after it was found in the database, and the database has it still. Nothing refers to an object if, after it was
seen in the store, no file has it and it is not noted either, as each is before it is written
(`storage/media_objects.py`).
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from tim_server.matrix.identifiers import ServerName
from tim_server.media_store.errors import FileAltered, MediaStoreError, ObjectMissing
from tim_server.media_store.files import FOLDERS, FileToRead, MediaFiles
from tim_server.media_store.objects import StoredObject
from tim_server.media_store.sealing import sealed_size
from tim_server.services.media.keep import identity_of
from tim_server.services.media.mend import LostForgetting
from tim_server.services.media.stored_objects import (
    OBJECTS_PER_STEP,
    Finding,
    Trouble,
    is_young,
    kind_of,
    own_objects,
)
from tim_server.storage.codec import Codec, SealedContentUnreadable
from tim_server.storage.database import Database
from tim_server.storage.media_objects import (
    ReferredObject,
    files_among,
    key_of,
    media_objects,
    thumbnail_objects,
    unknown_among,
)

T = TypeVar("T")
R = TypeVar("R")

AT_ONCE_MAX = 8
"""How many objects are looked at, or read, at the same time."""


@dataclass(slots=True)
class Tally:
    """What was counted: files (thumbnails too) and objects, what is lost by kind; of objects that no file has how many
    nothing refers to, with their bytes, how many are being written or removed, are young, or have names that are not
    ours."""

    files: int = 0
    objects: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    orphans: int = 0
    orphans_bytes: int = 0
    noted: int = 0
    young: int = 0
    strange: int = 0
    read_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Who is told of what is found, and of how far the check has come."""

    found: Callable[[Finding], None]
    progress: Callable[[str, Tally], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaCheck:
    """Checks a homeserver's files. `young_ms`: objects that were written less long ago are left aside."""

    server_name: ServerName
    database: Database
    codec: Codec
    files: MediaFiles
    young_ms: int
    now_ms: Callable[[], int]

    async def run(self, watch: Watch, *, reads: bool, forgetting: LostForgetting | None = None) -> Tally:
        """Check all; with `reads` also whether each file opens. With `forgetting`, what is lost and can be had anew is
        forgotten. Raises a `MediaStoreError` where the store can't be asked, and `Unavailable`."""
        tally = Tally()
        for folder in FOLDERS:
            found, strange = await own_objects(self.files.objects, folder)
            tally.objects += len(found)
            tally.strange += strange
            async for page in self._referred(folder):
                tally.files += len(page)
                lost = await self._lost(page, found, tally, reads=reads)
                for finding in lost:
                    tally.lost[kind_of(finding, self.server_name)] += 1
                    watch.found(finding)
                if forgetting is not None:
                    await forgetting.forget(lost)
                watch.progress(folder, tally)
            await self._unreferred(list(found.values()), tally, watch)
            watch.progress(folder, tally)
        return tally

    async def _referred(self, folder: str) -> AsyncIterator[Sequence[ReferredObject]]:
        """What the database has in a folder, some at a time."""
        for load in (media_objects, thumbnail_objects):
            page: Sequence[ReferredObject] = ()
            while True:
                after = page[-1].object_name if page else f"{folder}/"
                async with self.database.connection() as connection:
                    page = await load(connection, after=after, before=f"{folder}0", limit=OBJECTS_PER_STEP)
                if not page:
                    break
                yield page

    async def _lost(
        self, page: Sequence[ReferredObject], found: dict[str, StoredObject], tally: Tally, *, reads: bool
    ) -> list[Finding]:
        """What is wrong with these files. Their objects are taken out of those that were found."""

        compared = [(each, _compared(each, found.pop(each.object_name, None))) for each in page]

        async def look(suspected: tuple[ReferredObject, Trouble | None]) -> Finding | None:
            referred, trouble = suspected
            if trouble is not None:
                trouble = _compared(referred, await self.files.objects.find(referred.object_name))
            if trouble is None and reads:
                trouble = await self._read(referred, tally)
            if trouble is None:
                return None
            return Finding(trouble=trouble, object_name=referred.object_name, referred=referred)

        looked = await _each(look, [each for each in compared if each[1] is not None or reads])
        findings = [each for each in looked if each is not None]
        if not findings:
            return []
        async with self.database.connection() as connection:
            still = await files_among(connection, [each.object_name for each in findings])
        return [each for each in findings if each.object_name in still]

    async def _read(self, referred: ReferredObject, tally: Tally) -> Trouble | None:
        try:
            file = FileToRead(
                object_name=referred.object_name,
                identity=identity_of(referred.server_name, referred.media_id, referred.variant),
                key=key_of(self.codec, referred),
                size_bytes=referred.size_bytes,
            )
            async for piece in self.files.read(file, first=0, last=file.size_bytes - 1):
                tally.read_bytes += len(piece)
        except (FileAltered, SealedContentUnreadable):
            return Trouble.ALTERED
        except ObjectMissing:
            return Trouble.MISSING
        except MediaStoreError:
            return Trouble.UNREADABLE
        return None

    async def _unreferred(self, rest: Sequence[StoredObject], tally: Tally, watch: Watch) -> None:
        for start in range(0, len(rest), OBJECTS_PER_STEP):
            batch = rest[start : start + OBJECTS_PER_STEP]
            async with self.database.connection() as connection:
                unknown = await unknown_among(connection, [each.name for each in batch])
            tally.noted += len(batch) - len(unknown)
            for each in batch:
                if each.name not in unknown:
                    continue
                if is_young(each, now_ms=self.now_ms(), young_ms=self.young_ms):
                    tally.young += 1
                    continue
                tally.orphans += 1
                tally.orphans_bytes += each.size_bytes
                watch.found(Finding(trouble=Trouble.ORPHAN, object_name=each.name))


def _compared(referred: ReferredObject, stored: StoredObject | None) -> Trouble | None:
    """What is wrong with a file, as far as its object tells from outside."""
    if stored is None or not stored.is_whole:
        return Trouble.MISSING
    return None if stored.size_bytes == sealed_size(referred.size_bytes) else Trouble.WRONG_SIZE


async def _each(work: Callable[[T], Awaitable[R]], items: Sequence[T]) -> list[R]:
    """What the work gives for each, in their order, some at a time; the first error ends it."""
    turns = asyncio.Semaphore(AT_ONCE_MAX)

    async def one(item: T) -> R:
        async with turns:
            return await work(item)

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(item)) for item in items]
    except BaseExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]
