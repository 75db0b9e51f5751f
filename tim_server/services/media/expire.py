"""Remove copies of other servers' files that nobody has looked at for long, and those of longest ago where all of them
take more than they may. Who wants one has it fetched anew.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.services.media.policy import MediaPolicy
from tim_server.storage.database import Database
from tim_server.storage.media import sum_copies
from tim_server.storage.media_removal import MediumName, oldest_copies, remove_media

MEDIA_PER_STEP = 100
GRACE_MS = 600_000
"""How long the bytes stay, for those who are reading them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyExpiry:
    """Removes copies, and the smaller images made of them."""

    database: Database
    policy: MediaPolicy
    now_ms: Callable[[], int]

    async def expire(self) -> None:
        """Remove all that have expired by now."""
        if self.policy.remote_lifetime_s is None:
            return
        before = self.now_ms() - int(self.policy.remote_lifetime_s * 1000)
        removed = MEDIA_PER_STEP
        while removed == MEDIA_PER_STEP:
            async with self.database.transaction() as tx:
                old = await oldest_copies(tx, before=before, limit=MEDIA_PER_STEP)
                removed = len(await remove_media(tx, names_of(old), due_ts=self.now_ms() + GRACE_MS))

    async def shrink(self) -> None:
        """Remove those that nobody has looked at for longest until the others take no more than they may."""
        bytes_max = self.policy.remote_kept_bytes_max
        removed = -1
        while bytes_max is not None and removed:
            async with self.database.transaction() as tx:
                old = await oldest_copies(tx, before=self.now_ms() + 1, limit=MEDIA_PER_STEP)
                surplus = list(_of_size(old, await sum_copies(tx) - bytes_max))
                removed = len(await remove_media(tx, names_of(surplus), due_ts=self.now_ms() + GRACE_MS))


def names_of(media: Iterable[MediumName]) -> list[tuple[ServerName, MediaId]]:
    """What they are called."""
    return [(each.server_name, each.media_id) for each in media]


def _of_size(media: Iterable[MediumName], size_bytes: int) -> Iterator[MediumName]:
    """The first of them, as many as it takes for so many bytes."""
    for each in media:
        if size_bytes <= 0:
            return
        size_bytes -= each.size_bytes
        yield each
