"""Wait for events of one room, whoever waits: those who look into a room without being in it are not woken as its
members are."""

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tim_server.storage.commit_log import CommitEntry


@dataclass(slots=True)
class RoomWatch:
    """Who waits, by room nid."""

    _waiting: dict[int, set[asyncio.Event]] = field(default_factory=dict)

    def follow(self, entry: CommitEntry) -> None:
        """Wake those who wait for the rooms of a commit."""
        for room_nid in entry.events:
            for event in self._waiting.get(room_nid, ()):
                event.set()

    @contextlib.contextmanager
    def waiting(self, room_nid: int) -> Iterator[asyncio.Event]:
        """What is set whenever something happens in the room."""
        event = asyncio.Event()
        self._waiting.setdefault(room_nid, set()).add(event)
        try:
            yield event
        finally:
            self._waiting[room_nid].discard(event)
            if not self._waiting[room_nid]:
                del self._waiting[room_nid]


async def wait_for_any(*events: asyncio.Event | None, timeout_s: float) -> None:
    """Wait until one of the events is set, or the time is over."""
    tasks = [asyncio.create_task(event.wait(), name="room-watch") for event in events if event is not None]
    try:
        await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
