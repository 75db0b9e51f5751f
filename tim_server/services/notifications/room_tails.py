"""The commit log's tail by room: what has happened in one room since a position, without a walk over all of them."""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from tim_server.storage.commit_log import CommitEntry, CommitLog
from tim_server.storage.events import EventRow
from tim_server.storage.notifications import NOTIFICATIONS

Levels = dict[tuple[str, int], int]


class Happened(NamedTuple):
    """The events of one commit in a room, and the levels of notifications by (user id, event nid)."""

    position: int
    rows: tuple[EventRow, ...]
    levels: Levels


@dataclass(slots=True, kw_only=True)
class RoomTails:
    """Holds what the log's tail holds, and no more. Follows the log before anybody asks for what a commit brought."""

    commit_log: CommitLog
    _rooms: dict[int, deque[Happened]] = field(default_factory=dict)
    _order: deque[tuple[int, int]] = field(default_factory=deque)

    def since(self, room_nid: int, position: int) -> Iterator[Happened]:
        """What happened in the room after a position that the log's tail reaches back to; oldest first."""
        newer = []
        for happened in reversed(self._rooms.get(room_nid, ())):
            if happened.position <= position:
                break
            newer.append(happened)
        return reversed(newer)

    def follow(self, entry: CommitEntry) -> None:
        """Take a commit in, and let go of what the log's tail has dropped."""
        for room_nid, rows in entry.events.items():
            levels = {
                (str(fact.value[0]), int(fact.value[1] or 0)): int(fact.value[2] or 0)
                for fact in entry.facts.get(room_nid, ())
                if fact.stream == NOTIFICATIONS
            }
            self._rooms.setdefault(room_nid, deque()).append(Happened(entry.position, rows, levels))
            self._order.append((entry.position, room_nid))
        while self._order and self._order[0][0] <= self.commit_log.oldest_position:
            _, room_nid = self._order.popleft()
            of_room = self._rooms[room_nid]
            of_room.popleft()
            if not of_room:
                del self._rooms[room_nid]
