"""Give addresses to files that come later.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixmediav1create
"""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.matrix.errors import LimitExceeded, UserSuspended
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.media.upload import new_media_id
from tim_server.storage.announced_media import Announcement, count_announced, insert_announcement
from tim_server.storage.database import Connection
from tim_server.storage.writer import Writer

RETRY_AFTER_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaAnnouncement:
    """Announces files."""

    writer: Writer
    policy: MediaPolicy
    now_ms: Callable[[], int]

    async def announce(self, requester: Requester) -> Announcement:
        """An id for a file that the user is going to upload. Raises `UserSuspended`, and `LimitExceeded` where too many
        wait already."""
        if requester.is_suspended:
            raise UserSuspended()
        now = self.now_ms()
        announcement = Announcement(
            media_id=new_media_id(),
            user_id=requester.user_id,
            expires_ts=now + int(self.policy.announced_lifetime_s * 1000),
        )
        await self.writer.write(
            _Announce(announcement=announcement, now=now, per_user_max=self.policy.announced_per_user_max)
        )
        return announcement


@dataclass(frozen=True, slots=True, kw_only=True)
class _Announce:
    announcement: Announcement
    now: int
    per_user_max: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if await count_announced(tx, self.announcement.user_id, now=self.now) >= self.per_user_max:
            raise LimitExceeded("Too many files are announced and not uploaded", retry_after_ms=RETRY_AFTER_MS)
        await insert_announcement(tx, self.announcement)
