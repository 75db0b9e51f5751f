"""Read what happened around an event.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tim_server.matrix.errors import NotFound
from tim_server.matrix.filters import RoomEventFilter
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.filtering import fitting, patterns_of
from tim_server.services.events.tokens import START, place_after, place_before, token_of
from tim_server.services.rooms.holes import stop_at_hole
from tim_server.services.rooms.remote.reach_history import HistoryReach
from tim_server.services.rooms.view import RoomView, reader_of, state_after, view_room
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events, load_events_by_id, load_state_with_members
from tim_server.storage.state import SnapshotCache
from tim_server.storage.timeline import Place, TimelinePage, TimelineRange, load_page


@dataclass(frozen=True, slots=True, kw_only=True)
class ContextQuery:
    """Around which event, how many others at most, and which."""

    event_id: EventId
    limit: int = 10
    filter: RoomEventFilter = field(default_factory=RoomEventFilter)


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """Client events: `events_before` newest first, `events_after` oldest first, the state at the last of them."""

    start: str
    end: str
    event: bytes
    events_before: list[bytes]
    events_after: list[bytes]
    state: list[bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Around:
    start: Place
    end: Place
    before: list[EventRow]
    after: list[EventRow]


class _NotHere(Exception):
    """The event has no place in the room's history here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomContext:
    """Reads contexts; `limit_max` bounds one."""

    database: Database
    codec: Codec
    snapshots: SnapshotCache
    client_events: ClientEvents
    reach: HistoryReach
    limit_max: int = 100

    async def read(self, requester: Requester, room_id: RoomId, query: ContextQuery) -> EventContext:
        """What the user may see around an event, which a member may also have fetched from another server. Raises
        `Forbidden` for who was never joined, `NotFound` where the event is not there, or not for the user to see."""
        try:
            return await self._read(requester, room_id, query)
        except _NotHere:
            if not await self.reach.event(room_id, query.event_id):
                raise NotFound("There is no such event") from None
        try:
            return await self._read(requester, room_id, query)
        except _NotHere:
            raise NotFound("There is no such event") from None

    async def _read(self, requester: Requester, room_id: RoomId, query: ContextQuery) -> EventContext:
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            row = (await load_events_by_id(tx, self.codec, [query.event_id])).get(query.event_id)
            if view.membership == "join" and (row is None or row.snapshot is None):
                raise _NotHere
            seen = [] if row is None or row.room_nid != view.room_nid else [row]
            seen = await self._seen(tx, requester, view, seen)
            if not seen:
                raise NotFound("There is no such event")
            (row,) = seen
            around = await self._around(tx, requester, view, row, query)
            state = await self._state(tx, row, around, query.filter)
            told = [row, *around.before, *around.after]
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), [*told, *state], view.histories, parents=told
            )

        def written(rows: Sequence[EventRow]) -> list[bytes]:
            return [self.client_events.event(r, view.version, surroundings, room_id=room_id) for r in rows]

        return EventContext(
            start=token_of(around.start),
            end=token_of(around.end),
            event=written([row])[0],
            events_before=written(around.before),
            events_after=written(around.after),
            state=written(state),
        )

    async def _seen(self, tx: Connection, requester: Requester, view: RoomView, rows: list[EventRow]) -> list[EventRow]:
        return await self.client_events.visibility.visible(tx, requester.user_id, rows, view.histories)

    async def _around(
        self, tx: Connection, requester: Requester, view: RoomView, row: EventRow, query: ContextQuery
    ) -> _Around:
        limit = query.filter.events.limit_within(query.limit, self.limit_max) if query.limit > 0 else 0
        newest = (await read_newest_position(tx), 0) if view.left is None else (view.left.position, 0)
        nid = view.room_nid
        earlier = TimelineRange(room_nid=nid, after=START, until=place_before(row), newest_first=True)
        later = TimelineRange(room_nid=nid, after=place_after(row), until=newest, newest_first=False)
        before = await self._page(tx, view, earlier, query.filter, limit=limit // 2)
        after = await self._page(tx, view, later, query.filter, limit=limit - limit // 2)
        seen = {r.nid: r for r in await self._seen(tx, requester, view, [*before.rows, *after.rows])}
        return _Around(
            start=place_before(before.rows[-1]) if before.rows else place_before(row),
            end=place_after(after.rows[-1]) if after.rows else place_after(row),
            before=[seen[r.nid] for r in fitting(query.filter, before.rows) if r.nid in seen],
            after=[seen[r.nid] for r in fitting(query.filter, after.rows) if r.nid in seen],
        )

    async def _page(
        self, tx: Connection, view: RoomView, within: TimelineRange, event_filter: RoomEventFilter, *, limit: int
    ) -> TimelinePage:
        if limit == 0 or not event_filter.allows_room(view.room_id):
            return TimelinePage(rows=[], reached=None)
        open_range = await stop_at_hole(tx, within)
        return await load_page(tx, self.codec, open_range.within, limit=limit, patterns=patterns_of(event_filter))

    async def _state(
        self, tx: Connection, row: EventRow, around: _Around, event_filter: RoomEventFilter
    ) -> list[EventRow]:
        """The state at the last event returned, of the members only the senders' where members are loaded lazily."""
        last = around.after[-1] if around.after else row
        nids = await state_after(tx, self.snapshots, last)
        if not event_filter.lazy_load_members:
            rows = list((await load_events(tx, self.codec, nids)).values())
        else:
            senders = sorted({r.sender for r in (row, *around.before, *around.after)})
            rows = await load_state_with_members(tx, self.codec, nids, senders)
        return fitting(event_filter, sorted(rows, key=lambda r: r.nid))
