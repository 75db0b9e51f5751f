"""Keep files: written to the media store as they arrive, then made known by one commit.

The object is noted before it is written. Whatever ends an upload, the process too, what it leaves is found by that note
and removed (`services/media/reap.py`).
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum

import structlog

from tim_server.matrix.errors import MatrixError, Unavailable
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.matrix.media_errors import QuotaExceeded, StorageFull
from tim_server.media_store.errors import MediaStoreError, NoSpaceLeft
from tim_server.media_store.files import Digest, FileToRead, MediaFiles, StoredFile, new_object_name
from tim_server.media_store.thumbnails import Thumbnail
from tim_server.services.media.arrivals import MEDIA
from tim_server.services.media.policy import UserQuota
from tim_server.services.media.scan import MediaScan
from tim_server.storage.announced_media import delete_announcement
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.media import Medium, doom_object, insert_medium, note_object, sum_uploads
from tim_server.storage.thumbnails import StoredThumbnail, insert_thumbnail
from tim_server.storage.writer import Writer

MARGIN_MS = 3_600_000
"""How much later than it may take to write an object it counts as left over."""

_log = structlog.get_logger("media")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivingMedium:
    """A file that arrives. `user_id` is who uploads it, None for another server's; `is_announced` says that the id was
    created before, `quota` how much the user may have uploaded with it."""

    server_name: ServerName
    media_id: MediaId
    user_id: UserId | None
    content_type: str
    file_name: str | None
    pieces: AsyncIterator[bytes]
    is_announced: bool = False
    quota: UserQuota | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaKeeping:
    """Takes files in. `codec` seals their keys and names, and makes fingerprints; without `scan` nothing is scanned for
    malware."""

    writer: Writer
    codec: Codec
    files: MediaFiles
    now_ms: Callable[[], int]
    scan: MediaScan | None = None

    async def keep(self, arriving: ArrivingMedium, *, timeout_s: float) -> Medium | None:
        """The file, once it is stored durably; None where there is one of this id already. Raises TimeoutError,
        `StorageFull`, `Unavailable`, `QuotaExceeded`, what scanning raises, and what `pieces` raise; then nothing of it
        is kept."""
        identity = identity_of(arriving.server_name, arriving.media_id)
        fingerprint = self.codec.fingerprint_of_parts()
        object_name, stored = await self._write(identity, arriving.pieces, timeout_s, fingerprint)
        if self.scan is not None and self.scan.concerns(arriving.content_type, is_remote=arriving.user_id is None):
            await self._require_clean(self.scan, arriving, object_name, stored)
        now = self.now_ms()
        medium = Medium(
            server_name=arriving.server_name,
            media_id=arriving.media_id,
            user_id=arriving.user_id,
            object_name=object_name,
            file_key=stored.key,
            content_type=arriving.content_type,
            file_name=arriving.file_name,
            size_bytes=stored.size_bytes,
            fingerprint=fingerprint.digest(),
            created_ts=now,
            last_access_ts=now,
        )
        outcome = await self.writer.write(
            _Keep(
                codec=self.codec,
                medium=medium,
                quota=arriving.quota,
                users=(arriving.user_id,) if arriving.is_announced and arriving.user_id is not None else (),
            )
        )
        if outcome is _Outcome.KEPT:
            return medium
        await self._remove(object_name)
        if outcome is _Outcome.TOO_MUCH:
            raise QuotaExceeded()
        return None

    async def _require_clean(
        self, scan: MediaScan, arriving: ArrivingMedium, object_name: str, stored: StoredFile
    ) -> None:
        identity = identity_of(arriving.server_name, arriving.media_id)
        file = FileToRead(object_name=object_name, identity=identity, key=stored.key, size_bytes=stored.size_bytes)
        try:
            await scan.require_clean(file, sender=arriving.user_id or arriving.server_name.lower())
        except MatrixError:
            await self._remove(object_name)
            raise

    async def _remove(self, object_name: str) -> None:
        with suppress(MediaStoreError):  # what is left over is removed later in any case
            await self.files.objects.delete(object_name)

    async def keep_thumbnail(self, medium: Medium, variant: str, thumbnail: Thumbnail, *, timeout_s: float) -> None:
        """Keep a smaller image of a medium, unless there are enough; raises as `keep`."""
        identity = identity_of(medium.server_name, medium.media_id, variant)
        object_name, stored = await self._write(identity, _one_piece(thumbnail.content), timeout_s)
        kept = StoredThumbnail(
            server_name=medium.server_name,
            media_id=medium.media_id,
            variant=variant,
            object_name=object_name,
            file_key=stored.key,
            content_type=thumbnail.content_type,
            size_bytes=stored.size_bytes,
            created_ts=self.now_ms(),
        )
        if not await self.writer.write(_KeepThumbnail(codec=self.codec, thumbnail=kept)):
            await self._remove(object_name)

    async def _write(
        self, identity: str, pieces: AsyncIterator[bytes], timeout_s: float, digest: Digest | None = None
    ) -> tuple[str, StoredFile]:
        """Write an object that is noted as left over until a commit takes it."""
        object_name = new_object_name()
        due_ts = self.now_ms() + int(timeout_s * 1000) + MARGIN_MS
        await self.writer.write(_Note(object_name=object_name, due_ts=due_ts))
        try:
            async with asyncio.timeout(timeout_s):
                return object_name, await self.files.write(object_name, identity, pieces, digest)
        except NoSpaceLeft:
            _log.error("there is no space left for files")
            raise StorageFull() from None
        except MediaStoreError as error:
            _log.error("a file can't be written", error=str(error))
            raise Unavailable() from error


def identity_of(server_name: ServerName, media_id: MediaId, variant: str | None = None) -> str:
    """What a file is sealed as, or a smaller image of it."""
    uri = f"mxc://{server_name}/{media_id}"
    return uri if variant is None else f"{uri}#{variant}"


def file_of(medium: Medium) -> FileToRead:
    """What it takes to read a medium."""
    return FileToRead(
        object_name=medium.object_name,
        identity=identity_of(medium.server_name, medium.media_id),
        key=medium.file_key,
        size_bytes=medium.size_bytes,
    )


async def _one_piece(content: bytes) -> AsyncIterator[bytes]:
    yield content


@dataclass(frozen=True, slots=True, kw_only=True)
class _Note:
    object_name: str
    due_ts: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await note_object(tx, self.object_name, due_ts=self.due_ts)


class _Outcome(Enum):
    """What has become of a file that has arrived."""

    KEPT = "kept"
    NOT_NEW = "not new"
    TOO_MUCH = "too much"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keep:
    """Makes a file known. `users`: whose announced file it is, for which somebody may wait, in any process."""

    codec: Codec
    medium: Medium
    quota: UserQuota | None
    users: tuple[UserId, ...]

    @property
    def streams(self) -> tuple[str, ...]:
        return (MEDIA,) if self.users else ()

    async def store(self, tx: Connection, position: int) -> _Outcome:
        medium = self.medium
        if await self._is_too_much(tx):
            await doom_object(tx, medium.object_name, now=medium.created_ts)
            return _Outcome.TOO_MUCH
        if self.users:
            await delete_announcement(tx, medium.media_id)
        return _Outcome.KEPT if await insert_medium(tx, self.codec, medium) else _Outcome.NOT_NEW

    async def _is_too_much(self, tx: Connection) -> bool:
        if self.quota is None or self.medium.user_id is None:
            return False
        uploads = await sum_uploads(tx, self.medium.user_id)
        return not self.quota.has_room_beside(uploads, self.medium.size_bytes)


@dataclass(frozen=True, slots=True, kw_only=True)
class _KeepThumbnail:
    codec: Codec
    thumbnail: StoredThumbnail
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> bool:
        return await insert_thumbnail(tx, self.codec, self.thumbnail)
