"""Remove thumbnails where all of them take more than they may, those that were made first, and those of files that were
removed while they were made. Whoever wants one has it made anew.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.services.media.expire import GRACE_MS
from tim_server.services.media.policy import MediaPolicy
from tim_server.storage.database import Database
from tim_server.storage.thumbnails import remove_oldest_thumbnails, remove_orphans

THUMBNAILS_PER_STEP = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ThumbnailExpiry:
    """Removes thumbnails."""

    database: Database
    policy: MediaPolicy
    now_ms: Callable[[], int]

    async def shrink(self) -> None:
        """Remove those that were made first until the others take no more than they may."""
        kept_bytes_max = self.policy.thumbnails_kept_bytes_max
        removed = -1
        while kept_bytes_max is not None and removed:
            due_ts = self.now_ms() + GRACE_MS
            async with self.database.transaction() as tx:
                removed = await remove_oldest_thumbnails(tx, kept_bytes_max, limit=THUMBNAILS_PER_STEP, due_ts=due_ts)

    async def remove_orphans(self) -> None:
        """Remove those of files that are not here."""
        async with self.database.transaction() as tx:
            await remove_orphans(tx, due_ts=self.now_ms())
