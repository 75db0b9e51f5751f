"""Remove copies of other servers' files that nobody has looked at for long. Who wants one has it fetched anew."""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.services.media.policy import MediaPolicy
from tim_server.storage.database import Database
from tim_server.storage.media import remove_old_copies

COPIES_PER_STEP = 100
GRACE_MS = 3_600_000
"""How long the bytes stay, for those who are reading them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyExpiry:
    """Removes copies, and the smaller images made of them."""

    database: Database
    policy: MediaPolicy
    now_ms: Callable[[], int]

    async def expire(self) -> None:
        """Remove all that have expired by now."""
        lifetime_s = self.policy.remote_lifetime_s
        if lifetime_s is None:
            return
        now = self.now_ms()
        removed = COPIES_PER_STEP
        while removed == COPIES_PER_STEP:
            async with self.database.transaction() as tx:
                removed = await remove_old_copies(
                    tx, before=now - int(lifetime_s * 1000), due_ts=now + GRACE_MS, limit=COPIES_PER_STEP
                )
