"""Who waits for an announced file is woken when something of its owner is uploaded, in whichever process."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import UserId
from tim_server.storage.commit_log import CommitEntry

MEDIA = "media"
"""The commit log's stream of users for files that were announced and have come."""


@dataclass(frozen=True, slots=True)
class MediaArrivals:
    """Waits for uploads of users; follows the commit log."""

    _waiting: dict[UserId, set[asyncio.Event]] = field(default_factory=dict)

    def follow(self, entry: CommitEntry) -> None:
        """Wake who waits for what the commit has brought."""
        if not self._waiting:
            return
        for user_id, streams in entry.users.items():
            if MEDIA in streams:
                for event in self._waiting.get(user_id, ()):
                    event.set()

    @contextmanager
    def of(self, user_id: UserId) -> Iterator[asyncio.Event]:
        """An event that is set once something of the user is uploaded, from now on."""
        event = asyncio.Event()
        self._waiting.setdefault(user_id, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[user_id].discard(event)
            if not self._waiting[user_id]:
                del self._waiting[user_id]
