"""Finding out which servers may be owed EDUs: each commit is looked at once, and what many commits say of a room is
settled together a moment later.

A server that has just come into a room is told everything there, so that its users see who reads and who is there.

Spec: https://spec.matrix.org/v1.19/server-server-api/#edus
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.transactions.edus import EduSource
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Database
from tim_server.storage.room_servers import count_servers_of_rooms
from tim_server.storage.shared_rooms import load_rooms_of_users

SETTLED_AFTER_S = 0.05
ROOMS_REMEMBERED_MAX = 5_000
RETRY_S = 1.0

log = structlog.get_logger(__name__)


class Touch(Protocol):
    """Notes that a source may owe a server something."""

    def __call__(
        self, server: ServerName, source: str, since: int, *, room: int | None = None, whole: bool = False
    ) -> None:
        """Since a position, in a room, or everything in it."""


@dataclass(slots=True)
class _Mark:
    """What one source has said since the last settling."""

    since: int
    rooms: set[int] = field(default_factory=set)
    whole: set[int] = field(default_factory=set)
    users: set[UserId] = field(default_factory=set)
    servers: set[ServerName] = field(default_factory=set)


@dataclass(slots=True, kw_only=True)
class EduWatch:
    """Looks at commits while this process sends; `touch` is told who may be owed what."""

    server_name: ServerName
    database: Database
    sources: Sequence[EduSource]
    touch: Touch
    _rooms: SharedLookUps[int, Mapping[ServerName, int]] = field(init=False)
    _marks: dict[str, _Mark] = field(default_factory=dict)
    _settling: Mapping[str, _Mark] = field(default_factory=dict)
    _arrivals: dict[tuple[int, ServerName], int] = field(default_factory=dict)
    _task: "asyncio.Task[None] | None" = None

    def __post_init__(self) -> None:
        """Remember which servers are in which rooms."""
        self._rooms = SharedLookUps(database=self.database, read=count_servers_of_rooms, keys_max=ROOMS_REMEMBERED_MAX)

    @property
    def unsettled_since(self) -> int | None:
        """The position after which it is not yet known who is concerned by all commits; None where it is. No server may
        be taken for told of anything beyond."""
        marks = (*self._marks.values(), *self._settling.values())
        return min((mark.since for mark in marks), default=None)

    def follow(self, entry: CommitEntry) -> None:
        """Note who may be owed something because of this commit."""
        self._follow_members(entry)
        for source in self.sources:
            concerned = source.concerned(entry)
            if concerned.rooms or concerned.users or concerned.servers:
                mark = self._marks.get(source.name)
                if mark is None:
                    mark = self._marks[source.name] = _Mark(entry.previous)
                mark.rooms.update(concerned.rooms)
                mark.users.update(concerned.users)
                mark.servers.update(concerned.servers)
        self._begin()

    def repeat(self, source: str, rooms: Collection[int], since: int) -> None:
        """Servers in these rooms are to be told again what a source has to tell of them."""
        self._marks.setdefault(source, _Mark(since)).whole.update(rooms)
        self._begin()

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._rooms.clear()
        self._marks.clear()
        self._settling = {}
        self._arrivals.clear()

    async def close(self) -> None:
        """Look no more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None
        self.clear()

    def _begin(self) -> None:
        if (self._marks or self._arrivals) and self._task is None:
            self._task = asyncio.create_task(self._settle_all(), name="watch-edus")

    def _follow_members(self, entry: CommitEntry) -> None:
        changed = set(entry.resets)
        for room_nid, rows in entry.events.items():
            for row in rows:
                if row.type == MEMBER:
                    changed.add(room_nid)
                    server = UserId(row.state_key or "").server_name
                    if server != self.server_name:
                        self._arrivals.setdefault((room_nid, server), entry.previous)
        if changed:
            self._rooms.drop(changed)

    async def _settle_all(self) -> None:
        while self._marks or self._arrivals:
            await asyncio.sleep(SETTLED_AFTER_S)
            marks, self._marks = self._marks, {}
            self._settling = marks
            arrivals, self._arrivals = self._arrivals, {}
            try:
                await self._settle(marks, arrivals)
            except Exception as error:
                log.warning("who is owed EDUs could not be found out", error=type(error).__name__)
                self._take_back(marks, arrivals)
                await asyncio.sleep(RETRY_S)
            self._settling = {}
        self._task = None

    def _take_back(self, marks: Mapping[str, _Mark], arrivals: Mapping[tuple[int, ServerName], int]) -> None:
        self._arrivals |= arrivals
        for name, mark in marks.items():
            newer = self._marks.get(name)
            if newer is not None:
                mark.rooms |= newer.rooms
                mark.whole |= newer.whole
                mark.users |= newer.users
                mark.servers |= newer.servers
            self._marks[name] = mark

    async def _settle(self, marks: Mapping[str, _Mark], arrivals: Mapping[tuple[int, ServerName], int]) -> None:
        users = {user_id for mark in marks.values() for user_id in mark.users}
        rooms_of = await self._rooms_of_users(users) if users else {}
        wanted = {room for mark in marks.values() for room in (*mark.rooms, *mark.whole)}
        wanted |= {room for rooms in rooms_of.values() for room in rooms} | {room for room, _ in arrivals}
        servers = await self._rooms.load(wanted) if wanted else {}
        for name, mark in marks.items():
            for rooms, whole in ((mark.rooms, False), (mark.whole, True)):
                for room in rooms:
                    for server in servers[room].keys() - {self.server_name}:
                        self.touch(server, name, mark.since, room=room, whole=whole)
            shared = {room for user_id in mark.users for room in rooms_of[user_id]}
            for server in mark.servers.union(*(servers[room] for room in shared)) - {self.server_name}:
                self.touch(server, name, mark.since)
        for (room, server), since in arrivals.items():
            if servers[room].get(server) == 1:  # the first of its users
                for source in self.sources:
                    self.touch(server, source.name, since, room=room, whole=True)

    async def _rooms_of_users(self, users: Collection[UserId]) -> Mapping[UserId, Collection[int]]:
        async with self.database.connection() as connection:
            return await load_rooms_of_users(connection, users)
