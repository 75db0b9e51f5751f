"""Forgetting rooms that are deleted: what each process remembers of them in memory.

Events and snapshots are remembered by nids, which are never given twice, so that nobody could be told anything wrong;
but what is deleted must not stay. Such memories are few, fill again at once, and rooms are rarely deleted: they are
dropped as a whole. What is remembered by room follows the commit's resets.
"""

from collections.abc import Callable
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.storage.commit_log import CommitEntry, CommitLog, Fact
from tim_server.storage.database import Connection

ROOM_DELETED = "room_deleted"
"""The stream of facts that say that nothing of a room is stored any more; no client is told of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TellDeleted:
    """A write that has all processes forget a room: that it is not as they knew it, and with `is_purged` also all that
    they remember of it."""

    room_nid: int
    is_purged: bool
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def resets(self) -> tuple[int, ...]:
        """The room, of which nothing holds any more."""
        return (self.room_nid,)

    @property
    def facts(self) -> tuple[Fact, ...]:
        """That the room is gone."""
        return (Fact(ROOM_DELETED, self.room_nid, ()),) if self.is_purged else ()

    async def store(self, tx: Connection, position: int) -> None:
        """Nothing but the commit itself."""


def upon_deletion(*forget: Callable[[], None]) -> Callable[[CommitEntry], None]:
    """A subscriber of the commit log that forgets when rooms are gone."""

    def follow(entry: CommitEntry) -> None:
        if _deleted_in(entry):
            for each in forget:
                each()

    return follow


def forget_in_tail(commit_log: CommitLog) -> Callable[[CommitEntry], None]:
    """A subscriber that has the commit log's tail forget what happened in rooms that are gone."""

    def follow(entry: CommitEntry) -> None:
        if deleted := _deleted_in(entry):
            commit_log.forget_rooms(deleted)

    return follow


def _deleted_in(entry: CommitEntry) -> set[int]:
    return {nid for nid, facts in entry.facts.items() if any(fact.stream == ROOM_DELETED for fact in facts)}
