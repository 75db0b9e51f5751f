"""The public directory: the rooms that this server lists, page by page, searched by what their state says of them.

Rooms with most members come first. Names and topics are sealed, so that no index helps to search them: the listed rooms
are read in that order, so many at once, until the page is full.

Spec: https://spec.matrix.org/v1.19/client-server-api/#published-room-directory
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, InvalidParam, MissingToken
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.room_summary import RoomSummary, load_summaries
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.room_directory import ListedRoom, load_listed_rooms

LISTED_MAX = 10_000
READ_AT_ONCE = 200

_TOKEN = re.compile(r"([np])([0-9]{1,9})_([0-9]{1,18})")


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryPolicy:
    """The longest page, whether reading the directory takes an account, and whether other servers may read it."""

    page_rooms_max: int = 500
    requires_account: bool = False
    is_told_to_servers: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicRoomsQuery:
    """Which rooms. `server` None: this server. `room_types` None: all; within, None stands for rooms without a type."""

    server: ServerName | None = None
    limit: int | None = None
    since: str | None = None
    search_term: str | None = None
    room_types: Sequence[str | None] | None = None
    third_party_instance_id: str | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether the state of rooms decides which are told."""
        return bool(self.search_term) or self.room_types is not None

    def includes(self, summary: RoomSummary) -> bool:
        """Whether a room is asked for: any of its names, or its topic, holds the search term."""
        if self.room_types is not None and summary.access.room_type not in self.room_types:
            return False
        term = (self.search_term or "").casefold()
        texts = (summary.name, summary.topic, summary.canonical_alias)
        return any(term in text.casefold() for text in texts if text is not None) or not term


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicRoomsPage:
    """Some listed rooms, with tokens for those after and before them."""

    rooms: Sequence[RoomSummary] = ()
    next_batch: str | None = None
    prev_batch: str | None = None
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicRooms:
    """Reads the public directory."""

    database: Database
    codec: Codec
    policy: DirectoryPolicy

    async def page(self, requester: Requester | None, query: PublicRoomsQuery) -> PublicRoomsPage:
        """A page of the directory. Raises `InvalidParam` for a token that is none of this server, `MissingToken` where
        reading takes an account."""
        if requester is None and self.policy.requires_account:
            raise MissingToken()
        return await self._page(query)

    async def page_for_server(self, query: PublicRoomsQuery) -> PublicRoomsPage:
        """A page for another server. Raises `Forbidden` where others are not told, and `InvalidParam`."""
        if not self.policy.is_told_to_servers:
            raise Forbidden("This server does not tell others which public rooms it has")
        return await self._page(query)

    async def _page(self, query: PublicRoomsQuery) -> PublicRoomsPage:
        start = None if query.since is None else _place_of(query.since)
        if query.third_party_instance_id is not None:
            return PublicRoomsPage()  # no room here belongs to a third-party network
        limit = min(query.limit or self.policy.page_rooms_max, self.policy.page_rooms_max)
        async with self.database.read() as tx:
            listed = await load_listed_rooms(tx, limit=LISTED_MAX)
            found = await self._find(tx, _from(listed, start), query, limit + 1)
        return _page(found, limit, start, total=len(listed))

    async def _find(
        self, tx: Connection, listed: Sequence[ListedRoom], query: PublicRoomsQuery, count: int
    ) -> list[tuple[ListedRoom, RoomSummary]]:
        """The first `count` of these rooms that are asked for."""
        found: list[tuple[ListedRoom, RoomSummary]] = []
        step = READ_AT_ONCE if query.is_filtered else min(count, READ_AT_ONCE)
        for begin in range(0, len(listed), step):
            some = listed[begin : begin + step]
            rooms = {room.nid: (room.room_id, room_version(room.room_version)) for room in some}
            summaries = await load_summaries(tx, self.codec, rooms)
            found += [(room, summaries[room.nid]) for room in some if query.includes(summaries[room.nid])]
            if len(found) >= count:
                break
        return found[:count]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    """A place in the directory's order, from where one goes on, or back."""

    joined: int
    nid: int
    backwards: bool

    @property
    def key(self) -> tuple[int, int]:
        return -self.joined, self.nid


def _place_of(token: str) -> _Place:
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise InvalidParam("since is not a token of this directory")
    return _Place(joined=int(match[2]), nid=int(match[3]), backwards=match[1] == "p")


def _key_of(room: ListedRoom) -> tuple[int, int]:
    return -room.joined, room.nid


def _from(listed: Sequence[ListedRoom], start: _Place | None) -> Sequence[ListedRoom]:
    """The rooms from a place on; going back, the nearest first."""
    if start is None:
        return listed
    if start.backwards:
        return [room for room in reversed(listed) if _key_of(room) < start.key]
    return [room for room in listed if _key_of(room) > start.key]


def _page(
    found: Sequence[tuple[ListedRoom, RoomSummary]], limit: int, start: _Place | None, *, total: int
) -> PublicRoomsPage:
    backwards = start is not None and start.backwards
    told = [*reversed(found[:limit])] if backwards else found[:limit]
    if not told:
        return PublicRoomsPage(total=total)
    more = len(found) > limit
    first, last = told[0][0], told[-1][0]
    return PublicRoomsPage(
        rooms=[summary for _, summary in told],
        next_batch=f"n{last.joined}_{last.nid}" if backwards or more else None,
        prev_batch=f"p{first.joined}_{first.nid}" if (more if backwards else start is not None) else None,
        total=total,
    )
