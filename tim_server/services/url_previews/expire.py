"""Remove previews that have expired, and their pictures."""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.matrix.identifiers import ServerName
from tim_server.storage.database import Database
from tim_server.storage.url_previews import forget_expired, remove_due_images

IMAGES_PER_STEP = 100
GRACE_MS = 60_000
"""How long the bytes of a picture stay, for those who are reading them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviewExpiry:
    """Removes what is due."""

    server_name: ServerName
    database: Database
    now_ms: Callable[[], int]

    async def expire(self) -> None:
        """Remove all that has expired by now."""
        now = self.now_ms()
        async with self.database.transaction() as tx:
            await forget_expired(tx, now=now)
        removed = IMAGES_PER_STEP
        while removed == IMAGES_PER_STEP:
            async with self.database.transaction() as tx:
                removed = await remove_due_images(
                    tx, self.server_name, now=now, due_ts=now + GRACE_MS, limit=IMAGES_PER_STEP
                )
