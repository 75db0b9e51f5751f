"""Take what users upload.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav3upload
"""

import secrets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import structlog

from tim_server.matrix.content_disposition import clean_content_type, clean_file_name
from tim_server.matrix.errors import Forbidden, NotFound, Unavailable, UserSuspended
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.matrix.media_errors import CannotOverwriteMedia, QuotaExceeded, StorageFull, UploadTooSlow
from tim_server.services.accounts.requester import Requester
from tim_server.services.media.keep import ArrivingMedium, MediaKeeping
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.media.under_way import UploadsUnderWay, UploadUnderWay
from tim_server.services.media.used_space import UsedSpace
from tim_server.storage.announced_media import find_announcement
from tim_server.storage.database import Database
from tim_server.storage.media import knows_medium, sum_uploads
from tim_server.trust.contacts import is_same_server

_MEDIA_ID_BYTES = 18

_log = structlog.get_logger("media")


@dataclass(frozen=True, slots=True, kw_only=True)
class SentFile:
    """A file as a user sends it: its `pieces`, which bound it, and what is said of it. `length_bytes` is None where
    nothing is said of that."""

    pieces: AsyncIterator[bytes]
    length_bytes: int | None
    content_type: str | None
    file_name: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaUpload:
    """Stores uploads."""

    server_name: ServerName
    database: Database
    now_ms: Callable[[], int]
    keeping: MediaKeeping
    policy: MediaPolicy
    used_space: UsedSpace
    under_way: UploadsUnderWay

    async def upload(self, requester: Requester, file: SentFile) -> str:
        """Store a file; the `mxc://` URI that it has from now on. Raises `UserSuspended`, `LimitExceeded`,
        `QuotaExceeded`, `StorageFull`, `UploadTooSlow`, what `keep` raises, and what the pieces raise."""
        media_id = new_media_id()
        if not await self._keep(requester, media_id, file):
            raise Unavailable()
        return f"mxc://{self.server_name}/{media_id}"

    async def upload_announced(
        self, requester: Requester, server_name: ServerName, media_id: MediaId, file: SentFile
    ) -> None:
        """Store a file that the user has announced. Raises as `upload` does, `Forbidden` for another's id,
        `CannotOverwriteMedia`, and `NotFound` for an id that was not created, or has expired."""
        if not is_same_server(server_name, self.server_name):
            raise NotFound("No such id was created here")
        async with self.database.connection() as connection:
            announced = await find_announcement(connection, media_id, now=self.now_ms())
            if announced is None and await knows_medium(connection, self.server_name, media_id):
                raise CannotOverwriteMedia()
        if announced is None:
            raise NotFound("The id was not created here, or has expired")
        if announced.user_id != requester.user_id:
            raise Forbidden("The id was created by somebody else")
        if not await self._keep(requester, media_id, file, is_announced=True):
            raise CannotOverwriteMedia()

    async def _keep(
        self, requester: Requester, media_id: MediaId, file: SentFile, *, is_announced: bool = False
    ) -> bool:
        if requester.is_suspended:
            raise UserSuspended()
        with self.under_way.begin(requester.user_id) as upload:
            room_bytes = await self._room(requester.user_id, file.length_bytes or 1)
            arriving = ArrivingMedium(
                server_name=self.server_name,
                media_id=media_id,
                user_id=requester.user_id,
                content_type=clean_content_type(file.content_type),
                file_name=clean_file_name(file.file_name),
                pieces=self._within_quotas(upload, file.pieces, room_bytes),
                is_announced=is_announced,
                quota=self.policy.user_quota,
            )
            try:
                medium = await self.keeping.keep(arriving, timeout_s=self.policy.upload_timeout_s)
            except TimeoutError:
                raise UploadTooSlow() from None
            self.used_space.add(0 if medium is None else medium.size_bytes)
            return medium is not None

    async def _room(self, user_id: UserId, length_bytes: int) -> int | None:
        """How many bytes the user may still upload, now, at least these; None for any. What arrives at the same time is
        counted once more when it is to be kept."""
        quota, quota_of_all = self.policy.user_quota, self.policy.quota_bytes
        async with self.database.connection() as connection:
            uploads = await sum_uploads(connection, user_id)
        if not quota.has_room_beside(uploads, length_bytes):
            raise QuotaExceeded()
        if quota_of_all is not None and await self.used_space.bytes() + length_bytes > quota_of_all:
            _log.error("the quota of all uploads is used up")
            raise StorageFull()
        return None if quota.size_bytes is None else quota.size_bytes - uploads.size_bytes

    async def _within_quotas(
        self, upload: UploadUnderWay, pieces: AsyncIterator[bytes], room_bytes: int | None
    ) -> AsyncIterator[bytes]:
        """The pieces, which are broken off where they are too much with all else that arrives."""
        quota_of_all = self.policy.quota_bytes
        async for piece in pieces:
            upload.add(len(piece))
            if room_bytes is not None and upload.of_user.size_bytes > room_bytes:
                raise QuotaExceeded()
            if quota_of_all is not None and self.used_space.counted_bytes + upload.of_all.size_bytes > quota_of_all:
                raise StorageFull()
            yield piece


def new_media_id() -> MediaId:
    """An id that nobody can guess."""
    return MediaId(secrets.token_urlsafe(_MEDIA_ID_BYTES))
