"""Find the event that is nearest to a time: of those that are here, or where history is missing that may hold a nearer
one, of those that other servers have.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.visibility import EventVisibility
from tim_server.services.rooms.remote.reach_history import HistoryReach, WantedTime
from tim_server.services.rooms.view import RoomView, view_room
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow
from tim_server.storage.timeline import NEAREST_MAX, TimelineRange, load_nearest, load_page


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What is here, and whether the user may have more fetched."""

    row: EventRow | None
    may_reach: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EventByTime:
    """Finds events by the time at which they were sent, as their servers say."""

    database: Database
    visibility: EventVisibility
    reach: HistoryReach

    async def find(self, requester: Requester, room_id: RoomId, ts: int, *, backwards: bool) -> tuple[EventId, int]:
        """The nearest event that the user may see, at `ts` (milliseconds since the epoch) or in one direction from it,
        and its own time. Raises `Forbidden` for who was never joined, `NotFound` where there is none."""
        found = await self._find(requester, room_id, ts, backwards=backwards)
        found_ts = None if found.row is None else found.row.origin_server_ts
        wanted = WantedTime(ts=ts, backwards=backwards, found_ts=found_ts)
        if found.may_reach and await self.reach.by_time(room_id, wanted):
            found = await self._find(requester, room_id, ts, backwards=backwards)
        if found.row is None:
            raise NotFound("There is no such event in this direction")
        return found.row.event_id, found.row.origin_server_ts

    async def _find(self, requester: Requester, room_id: RoomId, ts: int, *, backwards: bool) -> _Found:
        """The nearest of the events that are here."""
        async with self.database.read() as tx:
            view = await view_room(tx, self.visibility.codec, requester.user_id, room_id)
            nearest = await load_nearest(tx, self.visibility.codec, view.room_nid, ts, backwards=backwards)
            seen = await self.visibility.visible(tx, requester.user_id, nearest, view.histories)
            if not seen and len(nearest) == NEAREST_MAX:
                beyond = await self._load_beyond(tx, view, nearest, backwards=backwards)
                seen = await self.visibility.visible(tx, requester.user_id, beyond, view.histories)
        return _Found(row=seen[0] if seen else None, may_reach=view.membership == "join")

    async def _load_beyond(
        self, tx: Connection, view: RoomView, hidden: Sequence[EventRow], *, backwards: bool
    ) -> list[EventRow]:
        """Where the nearest events are all hidden: the first of the next time in which the user was joined, nearest
        first. The order of the timeline finds it without reading all that the user may not see."""
        place = hidden[0].position or 0
        spans = view.history.joined_spans
        fitting = [s for s in reversed(spans) if s[0] <= place] if backwards else [s for s in spans if s[1] >= place]
        if not fitting:
            return []
        start, until = fitting[0]
        first, last = (start, min(until, place)) if backwards else (max(start, place), until)
        within = TimelineRange(room_nid=view.room_nid, after=(first - 1, 0), until=(last, 0), newest_first=backwards)
        page = await load_page(tx, self.visibility.codec, within, limit=NEAREST_MAX)
        nearest = hidden[0].origin_server_ts
        rows = [r for r in page.rows if (r.origin_server_ts <= nearest if backwards else r.origin_server_ts >= nearest)]
        return sorted(rows, key=lambda row: row.origin_server_ts, reverse=backwards)
