"""Smaller images of media: made in a process of their own when they are first asked for, then kept.

One at a time is made, so that what kills the process is known by its fall; that image is then left alone for a while,
in any size. Whoever uploads images that take long makes their own wait, and whoever asks for many waits for them
alone: of each uploader one waits among all, and of each who asks some.

Spec: https://spec.matrix.org/v1.19/client-server-api/#thumbnails
"""

import asyncio
from collections.abc import AsyncGenerator, Hashable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial

import structlog

from tim_server.matrix.errors import TooLarge, Unavailable, Unknown
from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.matrix.media_errors import RemoteFileTooLarge, StorageFull
from tim_server.media_store.files import FileToRead
from tim_server.media_store.thumbnails import (
    NotAnImage,
    Thumbnail,
    ThumbnailOrder,
    ThumbnailSize,
    TooManyPixels,
    make_thumbnail,
)
from tim_server.services.fair_turns import FairTurns, OwnTurns
from tim_server.services.media.keep import MediaKeeping, file_of, identity_of
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.media.sending import begin
from tim_server.services.media.told import unreadable_told
from tim_server.services.process_pool import ProcessPool
from tim_server.services.shared_work import SharedWork
from tim_server.storage.database import Database
from tim_server.storage.media import Medium
from tim_server.storage.thumbnails import StoredThumbnail, find_thumbnail

SIDE_MAX = 1_920
WRITE_TIMEOUT_S = 60.0
WAITING_PER_ASKER_MAX = 100
TURNS_PER_ASKER = 4
IDLE_S = 300.0
REFUSALS = (Unknown, TooLarge, RemoteFileTooLarge)
REFUSAL_LIFETIME_MS = 3_600_000

PIECE_BYTES = 256 * 1024

ThumbnailName = tuple[ServerName, MediaId, ThumbnailSize]

_log = structlog.get_logger("media")


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenThumbnail:
    """A thumbnail that is sent: its type, its size, and its bytes, which whoever gets it must close."""

    content_type: str
    size_bytes: int
    pieces: AsyncGenerator[bytes]


def thumbnail_turns() -> FairTurns:
    """Turns to make one: of who asks, and of who has uploaded the image."""
    return FairTurns(
        at_once_max=2,  # while one is made another is kept
        of_askers=OwnTurns(per_key_max=TURNS_PER_ASKER, asked_max=WAITING_PER_ASKER_MAX),
        of_others=OwnTurns(per_key_max=1),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaThumbnails:
    """Gives thumbnails of media."""

    server_name: ServerName
    database: Database
    keeping: MediaKeeping
    policy: MediaPolicy
    work: SharedWork[ThumbnailName, Thumbnail]
    sending: OwnTurns
    pool: ProcessPool = field(
        default_factory=lambda: ProcessPool(work="make thumbnails", attempts_max=1, idle_s=IDLE_S)
    )
    turns: FairTurns = field(default_factory=thumbnail_turns)
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def open(self, medium: Medium, size: ThumbnailSize, *, asked_by: str) -> OpenThumbnail:
        """The thumbnail, for a user, a server or an address, once it is their turn. Raises `Unknown` for what is no
        image, or can't be made smaller, `TooLarge` (of another server's `RemoteFileTooLarge`), `LimitExceeded`,
        `Unavailable` and `InternalError`."""
        size = _bounded(size)
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self.sending.of(asked_by))
            stored = await self._find(medium, size)
            if stored is None:
                made = await self._shared(medium, size, asked_by)
                pieces = await begin(_in_pieces(made.content), turn.pop_all())
                return OpenThumbnail(content_type=made.content_type, size_bytes=len(made.content), pieces=pieces)
            with unreadable_told(stored.object_name):
                pieces = await begin(self._read(_file_of(stored)), turn.pop_all())
            return OpenThumbnail(content_type=stored.content_type, size_bytes=stored.size_bytes, pieces=pieces)

    async def close(self) -> None:
        """End what is being made."""
        await self.work.close()
        self.pool.close()

    async def _find(self, medium: Medium, size: ThumbnailSize) -> StoredThumbnail | None:
        variant = _variant(size)
        async with self.database.connection() as connection:
            return await find_thumbnail(connection, self.keeping.codec, medium.server_name, medium.media_id, variant)

    async def _shared(self, medium: Medium, size: ThumbnailSize, asked_by: str) -> Thumbnail:
        """A new one, for all who ask for it now."""
        name = (medium.server_name, medium.media_id, size)
        turn = self.turns.of(asked_by, medium.user_id or medium.server_name.lower())
        return await self.work.get(name, partial(self._make, medium, size), turn=turn)

    async def _make(self, medium: Medium, size: ThumbnailSize) -> Thumbnail:
        if (stored := await self._find(medium, size)) is not None:  # since it was asked for
            return Thumbnail(content=await self._whole(_file_of(stored)), content_type=stored.content_type)
        if medium.size_bytes > self.policy.thumbnail_source_bytes_max:
            raise self._too_large(medium)
        thumbnail = await self._made(medium, size)
        await self._keep(medium, _variant(size), thumbnail)
        return thumbnail

    async def _made(self, medium: Medium, size: ThumbnailSize) -> Thumbnail:
        async with self._making:
            order = ThumbnailOrder(
                content=await self._whole(file_of(medium)),
                size=size,
                pixels_max=self.policy.thumbnail_pixels_max,
                timeout_s=self.policy.thumbnail_timeout_s,
            )
            try:
                return await self.pool.run(make_thumbnail, order)
            except (NotAnImage, Unavailable):  # or what has killed the process
                raise Unknown("Cannot generate thumbnails for the requested content") from None
            except TooManyPixels:
                raise self._too_large(medium) from None

    def _too_large(self, medium: Medium) -> TooLarge | RemoteFileTooLarge:
        if medium.server_name == self.server_name:
            return TooLarge("Content is too large to thumbnail")
        return RemoteFileTooLarge("Content is too large to thumbnail")

    def _read(self, file: FileToRead) -> AsyncGenerator[bytes]:
        return self.keeping.files.read(file, first=0, last=file.size_bytes - 1)

    async def _whole(self, file: FileToRead) -> bytes:
        with unreadable_told(file.object_name):
            return b"".join([piece async for piece in self._read(file)])

    async def _keep(self, medium: Medium, variant: str, thumbnail: Thumbnail) -> None:
        """Keep it for the next who asks; where that fails, it is made anew then."""
        try:
            await self.keeping.keep_thumbnail(medium, variant, thumbnail, timeout_s=WRITE_TIMEOUT_S)
        except (StorageFull, Unavailable, TimeoutError) as error:
            _log.warning("a thumbnail could not be kept", error=type(error).__name__)


async def _in_pieces(content: bytes) -> AsyncGenerator[bytes]:
    for start in range(0, len(content), PIECE_BYTES):
        yield content[start : start + PIECE_BYTES]


def refused_as(name: ThumbnailName) -> Hashable:
    """What can't be made smaller can't be in any size. An animation may still be an image that stands."""
    server_name, media_id, size = name
    return server_name, media_id, size.is_animated


def _bounded(size: ThumbnailSize) -> ThumbnailSize:
    """The size in whole pixels of a screen, at most."""
    longest = max(size.width, size.height)
    if longest <= SIDE_MAX:
        return size
    return ThumbnailSize(
        width=max(1, size.width * SIDE_MAX // longest),
        height=max(1, size.height * SIDE_MAX // longest),
        is_cropped=size.is_cropped,
        is_animated=size.is_animated,
    )


def _variant(size: ThumbnailSize) -> str:
    method = "crop" if size.is_cropped else "scale"
    return f"{method}-{size.width}x{size.height}{'-animated' if size.is_animated else ''}"


def _file_of(stored: StoredThumbnail) -> FileToRead:
    return FileToRead(
        object_name=stored.object_name,
        identity=identity_of(stored.server_name, stored.media_id, stored.variant),
        key=stored.file_key,
        size_bytes=stored.size_bytes,
    )
