"""Page through a room's history. A hole holds what this server has not fetched: a page that comes to one waits until it
is filled, not long where there is something to read before it, and else ends there; whoever goes on from there waits
longer, and may then try again from the same token.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from tim_server.matrix.filters import RoomEventFilter
from tim_server.matrix.identifiers import RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.filtering import fitting, patterns_of
from tim_server.services.events.tokens import START, place_after, place_of, token_of
from tim_server.services.rooms.holes import OpenRange, stop_at_hole
from tim_server.services.rooms.remote.backfill import Backfill
from tim_server.services.rooms.view import RoomView, reader_of, view_room
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.former_members import find_member_events
from tim_server.storage.holes import HoleRow
from tim_server.storage.memberships import load_members_at
from tim_server.storage.room_servers import is_shared_with_others
from tim_server.storage.state import find_in_snapshots
from tim_server.storage.timeline import Place, TimelinePage, TimelineRange, find_change_of_visibility, load_page

FILLS_PER_PAGE_MAX = 3
"""How often a hole is filled for one page: all that was fetched may be hidden, or not accepted."""
WAIT_FOR_MORE_S = 3.0
"""How long a page that holds something waits for more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """Which page: from one token in a direction, up to another, at most `limit` events. `across_holes`: holes are read
    across, as by who is told what happens and not what happened before."""

    backwards: bool
    limit: int
    start: str | None = None
    to: str | None = None
    filter: RoomEventFilter = field(default_factory=RoomEventFilter)
    across_holes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Client events in the order asked for. `end` None: there is nothing more; `state` None: it is not asked for."""

    start: str
    end: str | None
    chunk: list[bytes]
    state: list[bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """A page as it can be read now; `is_full`: it has as many events as were asked for; `open_range` None: the filter
    lets nothing of the room pass."""

    page: HistoryPage
    view: RoomView
    open_range: OpenRange | None = None
    is_full: bool = False

    @property
    def wants_filling(self) -> bool:
        """Whether a hole is in the way of a whole page."""
        is_at_hole = self.open_range is not None and self.open_range.is_empty
        return self.hole is not None and (is_at_hole or (self.ends_at_hole and not self.is_full))

    @property
    def ends_at_hole(self) -> bool:
        """Whether all was read up to a hole."""
        end = None if self.open_range is None else self.open_range.end
        return end is not None and self.page.end == token_of(end)

    @property
    def hole(self) -> HoleRow | None:
        """The next hole, for those who may have it filled."""
        return self.open_range.hole if self.open_range is not None and self.view.history.joined_spans else None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomHistory:
    """Reads pages of history; `limit_max` bounds a page, `fill_wait_s` how long one waits for a hole to be filled."""

    database: Database
    codec: Codec
    client_events: ClientEvents
    backfill: Backfill
    limit_max: int = 1_000
    fill_wait_s: float = 15.0

    async def page(self, requester: Requester, room_id: RoomId, query: HistoryQuery) -> HistoryPage:
        """One page of what the user may see; raises `Forbidden` for who was never joined, `InvalidParam`."""
        began = asyncio.get_running_loop().time()
        read = await self._read(requester, room_id, query)
        for _ in range(FILLS_PER_PAGE_MAX):
            if read.hole is None or not read.wants_filling:
                break
            wait_s = min(WAIT_FOR_MORE_S, self.fill_wait_s) if read.page.chunk else self.fill_wait_s
            if not await self.backfill.fill(room_id, read.hole, deadline=began + wait_s):
                return read.page
            read = await self._read(requester, room_id, query)
        if read.hole is not None and read.ends_at_hole:
            self.backfill.begin(room_id, read.hole)  # most readers go on to the next page
        return read.page

    async def _read(self, requester: Requester, room_id: RoomId, query: HistoryQuery) -> _Read:
        limit = max(query.filter.events.limit_within(query.limit, min(query.limit, self.limit_max)), 1)
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            newest = await read_newest_position(tx) if view.left is None else view.left.position
            start, within = _range(view, query, (newest, 0))
            if not query.filter.allows_room(room_id):
                return _Read(page=HistoryPage(start=token_of(start), end=None, chunk=[], state=None), view=view)
            open_range = await self._open_range(tx, view, query, within)
            page = await load_page(tx, self.codec, open_range.within, limit=limit, patterns=patterns_of(query.filter))
            seen = await self.client_events.visibility.visible(tx, requester.user_id, page.rows, view.histories)
            end = await _end_of(tx, view, page, seen, open_range)
            rows = fitting(query.filter, seen)
            members = await load_sender_members(tx, self.codec, rows) if query.filter.lazy_load_members else []
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), [*rows, *members], view.histories, parents=rows
            )
        write = self.client_events.event
        told = HistoryPage(
            start=query.start or token_of(start),
            end=None if end is None else token_of(end),
            chunk=[write(row, view.version, surroundings, room_id=room_id) for row in rows],
            state=[write(row, view.version, surroundings, room_id=room_id) for row in members]
            if query.filter.lazy_load_members
            else None,
        )
        return _Read(page=told, view=view, open_range=open_range, is_full=len(page.rows) >= limit)

    async def _open_range(
        self, tx: Connection, view: RoomView, query: HistoryQuery, within: TimelineRange
    ) -> OpenRange:
        """What may be read before a hole: all, where there is nobody who would fill it."""
        open_range = await stop_at_hole(tx, within)
        if open_range.hole is None or query.across_holes:
            return OpenRange(within=within, hole=None)
        if not await is_shared_with_others(tx, view.room_nid, self.backfill.server_name):
            return OpenRange(within=within, hole=None)
        return open_range


def _range(view: RoomView, query: HistoryQuery, newest: Place) -> tuple[Place, TimelineRange]:
    """Where the page starts, and the range that it may take events from: nothing after the user's leaving."""
    default = newest if query.backwards else START
    start = default if query.start is None else place_of(query.start)
    end = START if query.backwards else newest
    if query.to is not None:
        to = place_of(query.to)
        end = to if query.backwards else min(to, newest)
    after, until = (end, min(start, newest)) if query.backwards else (start, end)
    return start, TimelineRange(room_nid=view.room_nid, after=after, until=until, newest_first=query.backwards)


async def _end_of(
    tx: Connection, view: RoomView, page: TimelinePage, seen: Sequence[EventRow], open_range: OpenRange
) -> Place | None:
    """Where to go on after a page; None where there is nothing more that the user may see. Nobody goes on behind a
    hole.

    Behind an event that is hidden, all is hidden up to where the user's membership or the history visibility changes:
    the next page begins there, so that nobody pages through what they can't see.
    """
    backwards = open_range.within.newest_first
    gap = open_range.end
    reached = page.reached
    if reached is None:
        return gap
    last = page.rows[-1] if page.rows else None
    if last is None or (last.position, last.minor) != reached or (seen and seen[-1].nid == last.nid):
        return (reached[0], reached[1] - 1) if backwards else reached
    set_at = await find_change_of_visibility(tx, view.room_nid, reached, newest_first=backwards)
    changes = [(change.position, 0) for change in view.history.changes] + ([] if set_at is None else [set_at])
    if backwards:
        earlier = [change for change in changes if change < reached]
        return max([*earlier, *([] if gap is None else [gap])], default=None)
    if reached in changes or last.type == "m.room.history_visibility":
        return reached
    later = [(position, minor - 1) for position, minor in changes if (position, minor) > reached]
    return min([*later, *([] if gap is None else [gap])], default=None)


async def load_sender_members(tx: Connection, codec: Codec, rows: Sequence[EventRow]) -> list[EventRow]:
    """The member events of the senders of `rows`, as they were at the newest of them.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
    """
    if not rows:
        return []
    newest = max(rows, key=place_after)
    senders = sorted({row.sender for row in rows})
    if newest.minor < 0:  # then only the state before the event tells
        found = await find_member_events(tx, newest.room_nid, senders)
        states = () if newest.snapshot is None else (newest.snapshot,)
        nids = {nid for held in (await find_in_snapshots(tx, states, found)).values() for nid in held}
    else:
        assert newest.position is not None
        nids = {row.event_nid for row in await load_members_at(tx, newest.room_nid, newest.position, senders)}
    return list((await load_events(tx, codec, nids)).values())
