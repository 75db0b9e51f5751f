"""What this process remembers of users who sync: which rooms they are in, and when something last concerned them.

A view is loaded at a position and holds as long as no commit changes what it says: the user's own membership events
drop it, and so does a state reset that changes their membership. So for a window that begins at or after
`trusted_from`, the user was in exactly these rooms. Commits reach views by room and by user; whoever waits is woken
only by what concerns them.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.account_data.keep import ACCOUNT_DATA
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.keys.upload import ONE_TIME_KEYS
from tim_server.services.to_device.queue import TO_DEVICE
from tim_server.storage.commit_log import MEMBERSHIPS, CommitEntry, CommitLog
from tim_server.storage.history_fill import FILLED
from tim_server.storage.memberships import UserRoom
from tim_server.storage.presence import PRESENCE_STREAM
from tim_server.storage.push_rules import PUSH_RULES
from tim_server.storage.receipts import reader_of_private

MEMBER = "m.room.member"
ONLY_IN_DATABASE = frozenset({ACCOUNT_DATA, PUSH_RULES})
"""Streams of users that `/sync` tells of, and that the tail alone, and the parts of an answer, can't answer."""
SYNC_STREAMS = ONLY_IN_DATABASE | {PRESENCE_STREAM, DEVICES, ONE_TIME_KEYS, TO_DEVICE}
"""Streams of users that `/sync` tells of: who waits is woken."""
USERS_WOKEN_PER_TURN = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class ViewedRoom:
    """A room that somebody syncs, shared by their views."""

    room_id: RoomId
    version: RoomVersion


@dataclass(slots=True, kw_only=True, eq=False)
class UserView:
    """`rooms` holds, by the nid of each room that the user is in, the nid of their member event and its position.

    `touched_at`: the newest position that concerned the user. `trusted_from`: where windows may begin that are to be
    answered from memory.
    """

    user_id: UserId
    rooms: Mapping[int, tuple[int, int]]
    ignored: frozenset[str]
    trusted_from: int
    touched_at: int
    is_dropped: bool = False
    waiting: "dict[asyncio.Future[bool], None]" = field(default_factory=dict)

    def touch(self, position: int) -> None:
        """Something at this position concerns the user."""
        self.touched_at = max(self.touched_at, position)

    def distrust(self, position: int) -> None:
        """What this position changed for the user is not in memory."""
        self.trusted_from = max(self.trusted_from, position)
        self.touch(position)

    def wake(self) -> None:
        """Have all who wait look again."""
        waiting, self.waiting = self.waiting, {}
        for future in waiting:
            if not future.done():
                future.set_result(True)

    async def wait(self, timeout_s: float, *, waiting_max: int) -> bool:
        """Wait until something may concern the user; False when the time is over, or too many others wait."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        if len(self.waiting) >= waiting_max:
            end_waiting(next(iter(self.waiting)))
        self.waiting[future] = None
        timer = loop.call_later(timeout_s, end_waiting, future)
        try:
            return await future
        finally:
            timer.cancel()
            self.waiting.pop(future, None)


@dataclass(slots=True, kw_only=True)
class Views:
    """The remembered views, least recently used dropped first; `rooms_max` bounds their rooms over all."""

    commit_log: CommitLog
    rooms_max: int = 200_000
    _views: OrderedDict[UserId, UserView] = field(default_factory=OrderedDict)
    _by_room: dict[int, set[UserView]] = field(default_factory=dict)
    _rooms: dict[int, ViewedRoom] = field(default_factory=dict)
    _count: int = 0
    _to_wake: "dict[UserView, None]" = field(default_factory=dict)

    def get(self, user_id: UserId) -> UserView | None:
        """The user's view, if it is remembered."""
        view = self._views.get(user_id)
        if view is not None:
            self._views.move_to_end(user_id)
        return view

    def room(self, room_nid: int) -> ViewedRoom:
        """A room of a view that is remembered."""
        return self._rooms[room_nid]

    def put(self, user_id: UserId, rooms: Iterable[UserRoom], ignored: frozenset[str], position: int) -> None:
        """Remember what was loaded at `position`, unless a commit has changed it since."""
        self.drop(user_id)
        joined = [room for room in rooms if room.membership == "join"]
        room_nids = {room.room_nid for room in joined}
        newer = self.commit_log.since(position)
        if newer is None or any(user_id in _moved(entry) or _is_for(entry, user_id) for entry in newer):
            return
        view = UserView(
            user_id=user_id,
            rooms={room.room_nid: (room.event_nid, room.position) for room in joined},
            ignored=ignored,
            trusted_from=max([position, *(e.position for e in newer if not e.resets.isdisjoint(room_nids))]),
            touched_at=max(position, self.commit_log.position),
        )
        self._views[user_id] = view
        self._count += len(view.rooms)
        for room in joined:
            self._by_room.setdefault(room.room_nid, set()).add(view)
            if room.room_nid not in self._rooms:
                self._rooms[room.room_nid] = ViewedRoom(room_id=room.room_id, version=room_version(room.room_version))
        self._shorten()

    def drop(self, user_id: UserId) -> None:
        """Forget the user's view; whoever waits on it looks again."""
        view = self._views.pop(user_id, None)
        if view is None:
            return
        view.is_dropped = True
        self._count -= len(view.rooms)
        for room_nid in view.rooms:
            of_room = self._by_room[room_nid]
            of_room.discard(view)
            if not of_room:
                del self._by_room[room_nid], self._rooms[room_nid]
        view.wake()

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        for user_id in list(self._views):
            self.drop(user_id)

    def wake_all(self) -> None:
        """Have everybody who waits look again."""
        for view in list(self._views.values()):
            view.wake()

    def follow(self, entry: CommitEntry) -> None:
        """Tell the views that a commit concerns."""
        for user_id in _moved(entry):
            self.drop(user_id)
        for room_nid in entry.events:
            self._touch(self._by_room.get(room_nid, ()), entry.position)
        for room_nid, facts in entry.facts.items():
            readers = {reader_of_private(fact) for fact in facts if fact.stream != FILLED}
            views = self._by_room.get(room_nid, ())
            told = views if None in readers else [view for view in views if readers and view.user_id in readers]
            self._touch(told, entry.position)
        for room_nid in entry.resets:
            for view in self._by_room.get(room_nid, ()):
                view.distrust(entry.position)
                self._wake_soon(view)
        for user_id, streams in entry.users.items():
            view_of_user = self._views.get(user_id)
            if view_of_user is not None and not SYNC_STREAMS.isdisjoint(streams):
                if not ONLY_IN_DATABASE.isdisjoint(streams):
                    view_of_user.distrust(entry.position)
                view_of_user.touch(entry.position)
                self._wake_soon(view_of_user)

    def _touch(self, views: Iterable[UserView], position: int) -> None:
        for view in views:
            view.touch(position)
            self._wake_soon(view)

    def _wake_soon(self, view: UserView) -> None:
        """Wake who waits, after those whose writes were committed are answered, and a few users in each turn of the
        loop, so that in a room of many the answers to all do not keep other requests waiting."""
        if not view.waiting:
            return
        if not self._to_wake:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, self._wake_some)
        self._to_wake[view] = None

    def _wake_some(self) -> None:
        for view in list(islice(self._to_wake, USERS_WOKEN_PER_TURN)):
            del self._to_wake[view]
            view.wake()
        if self._to_wake:
            asyncio.get_running_loop().call_soon(self._wake_some)

    def _shorten(self) -> None:
        """Drop views that nobody waits on, until the bound holds."""
        if self._count <= self.rooms_max:
            return
        for user_id, view in list(self._views.items())[:-1]:
            if not view.waiting:
                self.drop(user_id)
                if self._count <= self.rooms_max:
                    return


def end_waiting(future: "asyncio.Future[bool]") -> None:
    """Have the one who waits on this future answer now."""
    if not future.done():
        future.set_result(False)


def _moved(entry: CommitEntry) -> set[UserId]:
    """The users whose rooms the commit may have changed."""
    moved = {user_id for user_id, streams in entry.users.items() if MEMBERSHIPS in streams}
    for rows in entry.events.values():
        moved.update(UserId(row.state_key) for row in rows if row.type == MEMBER and row.state_key is not None)
    return moved


def _is_for(entry: CommitEntry, user_id: UserId) -> bool:
    """Whether the commit touches a stream of the user's that memory can't answer."""
    return not ONLY_IN_DATABASE.isdisjoint(entry.users.get(user_id, ()))
