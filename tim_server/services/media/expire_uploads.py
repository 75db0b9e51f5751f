"""Remove what users have uploaded and nobody has looked at for long, but for avatars."""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.matrix.identifiers import MediaId
from tim_server.services.media.avatars import AvatarsInUse
from tim_server.services.media.expire import GRACE_MS, MEDIA_PER_STEP, names_of
from tim_server.services.media.policy import MediaPolicy
from tim_server.storage.database import Database
from tim_server.storage.media_removal import oldest_uploads, remove_media, touch_media


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadExpiry:
    """Removes uploads, and the smaller images made of them."""

    database: Database
    avatars: AvatarsInUse
    policy: MediaPolicy
    now_ms: Callable[[], int]

    async def expire(self) -> None:
        """Remove all that have expired by now."""
        if self.policy.local_lifetime_s is None:
            return
        before = self.now_ms() - int(self.policy.local_lifetime_s * 1000)
        async with self.database.connection() as connection:
            if not await oldest_uploads(connection, before=before, limit=1):
                return
        kept = await self.avatars.find()
        while await self._step(before, kept) == MEDIA_PER_STEP:
            pass

    async def _step(self, before: int, kept: set[MediaId]) -> int:
        """How many were looked at: what is kept counts as looked at by somebody, so that others come next."""
        now = self.now_ms()
        async with self.database.transaction() as tx:
            old = await oldest_uploads(tx, before=before, limit=MEDIA_PER_STEP)
            await touch_media(tx, [each for each in old if each.media_id in kept], now=now)
            gone = [each for each in old if each.media_id not in kept]
            await remove_media(tx, names_of(gone), due_ts=now + GRACE_MS)
        return len(old)
