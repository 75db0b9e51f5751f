"""The head of a room as this process remembers it: a guess that the writer checks when it commits.

`RoomHeads` keeps heads of rooms in use; a head follows the messages of other processes, is dropped when they change its
room otherwise, and reloaded when the writer says that it has moved. That a room is closed or blocked does not move its
head: what was decided before that may still be committed, but nothing is remembered that comes of a head that was read
before it.
"""

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Database
from tim_server.storage.events import EventRow
from tim_server.storage.memberships import count_joined_by_server
from tim_server.storage.rooms import load_head_version, load_room
from tim_server.storage.state import load_current_state

RESETS_MAX = 10_000
"""Of how many rooms is remembered when they were last reset: it matters while something is decided on an older head."""
DEPTH_MAX = 2**53 - 1
"""The greatest integer of canonical JSON: a room that another server has brought there still takes events."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomHead:
    """Where the room stands: `state` is the resolved state (type, state key) → nid; `joined_servers` counts joined
    members by server; `extremities` have the newest last. `head_version` None: the room is being created. One that
    `is_closed` is being deleted, and takes nothing but leaves; into one that `is_blocked` no local user may come.
    `resets_heard`: how many resets of rooms its process had heard of when the head, or the one that it comes of, was
    read."""

    nid: int
    room_id: RoomId
    version: RoomVersion
    head_version: int | None
    extremities: tuple[tuple[int, EventId], ...]
    depth: int
    snapshot: int
    snapshot_depth: int
    state: Mapping[tuple[str, str], int]
    joined_servers: Mapping[str, int]
    is_closed: bool = False
    is_blocked: bool = False
    resets_heard: int = field(default=0, compare=False)


class RoomHeads:
    """Remembered heads, least recently used dropped first; `state_entries_max` bounds their state over all rooms."""

    def __init__(self, database: Database, *, state_entries_max: int = 500_000) -> None:
        self._database = database
        self._heads: OrderedDict[RoomId, RoomHead] = OrderedDict()
        self._room_ids: dict[int, RoomId] = {}
        self._resets: OrderedDict[int, int] = OrderedDict()
        self._resets_heard = 0
        self._entries = 0
        self._entries_max = state_entries_max

    def remembered(self, room_id: RoomId) -> RoomHead | None:
        """The head, if it is remembered; it may be out of date."""
        return self._heads.get(room_id)

    async def get(self, room_id: RoomId) -> RoomHead | None:
        """The room's head; None where this server does not know the room."""
        head = self._heads.get(room_id)
        if head is not None:
            self._heads.move_to_end(room_id)
            return head
        head = await self._load(room_id)
        if head is not None:
            self.put(head)
        return head

    async def is_current(self, head: RoomHead) -> bool:
        """Whether the database has the same head; a rejection decided on another one must not be told to anybody."""
        async with self._database.connection() as connection:
            return await load_head_version(connection, head.nid) == head.head_version

    def put(self, head: RoomHead) -> None:
        """Remember the head, unless the room was reset since it was read, or the one that it comes of."""
        self.forget(head.room_id)
        if self._resets.get(head.nid, 0) > head.resets_heard:
            return
        self._heads[head.room_id] = head
        self._room_ids[head.nid] = head.room_id
        self._entries += len(head.state)
        while self._entries > self._entries_max and len(self._heads) > 1:
            self.forget(next(iter(self._heads)))

    def forget(self, room_id: RoomId) -> None:
        """Forget the room's head, so that it is loaded when next needed."""
        head = self._heads.pop(room_id, None)
        if head is not None:
            self._entries -= len(head.state)
            self._room_ids.pop(head.nid, None)

    def clear(self) -> None:
        """Forget every head, as after a restore."""
        self._heads.clear()
        self._room_ids.clear()
        self._entries = 0

    def follow(self, entry: CommitEntry) -> None:
        """Move heads with the messages that another process appended, and drop those that it moved otherwise."""
        for room_nid in entry.resets:
            self._reset(room_nid)
        for room_nid, rows in entry.events.items():
            room_id = self._room_ids.get(room_nid)
            head = self._heads.get(room_id) if room_id else None
            if head is None or (head.head_version is not None and head.head_version > entry.previous):
                continue
            moved = head_after_messages(head, rows)
            if moved is None:
                self.forget(head.room_id)
            else:
                self.put(moved)

    def _reset(self, room_nid: int) -> None:
        self._resets_heard += 1
        self._resets[room_nid] = self._resets_heard
        self._resets.move_to_end(room_nid)
        if len(self._resets) > RESETS_MAX:
            self._resets.popitem(last=False)
        if room_nid in self._room_ids:
            self.forget(self._room_ids[room_nid])

    async def _load(self, room_id: RoomId) -> RoomHead | None:
        resets_heard = self._resets_heard
        async with self._database.read() as tx:
            row = await load_room(tx, room_id)
            if row is None:
                return None
            state = await load_current_state(tx, row.nid)
            joined = await count_joined_by_server(tx, row.nid)
        return RoomHead(
            nid=row.nid,
            room_id=room_id,
            version=room_version(row.room_version),
            head_version=row.head_version,
            extremities=row.forward_extremities,
            depth=row.depth,
            snapshot=row.snapshot,
            snapshot_depth=row.snapshot_depth,
            state=state,
            joined_servers=joined,
            is_closed=row.is_closed,
            is_blocked=row.is_blocked,
            resets_heard=resets_heard,
        )


def head_after_messages(head: RoomHead, rows: Sequence[EventRow]) -> RoomHead | None:
    """The head once these events of one commit stand on it, so that nothing need be loaded where several processes
    send to a large room; None unless they are messages in a row, each on all that came before it."""
    extremities, depth = head.extremities, head.depth
    for row in rows:
        is_next = {*row.prev_nids} == {nid for nid, _ in extremities} and row.depth == depth + 1
        if row.state_key is not None or row.snapshot != head.snapshot or not is_next:
            return None
        extremities, depth = ((row.nid, row.event_id),), row.depth
    return replace(head, head_version=rows[-1].position, extremities=extremities, depth=depth) if rows else None


def joined_servers_after(
    joined: Mapping[str, int], user_id: UserId, before: str | None, after: str
) -> Mapping[str, int]:
    """The count of joined members by server after one user's membership changed."""
    step = (after == "join") - (before == "join")
    if not step:
        return joined
    return {**joined, user_id.server_name: joined.get(user_id.server_name, 0) + step}
