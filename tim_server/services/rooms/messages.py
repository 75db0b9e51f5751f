"""Page through a room's history.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tim_server.matrix.filters import RoomEventFilter
from tim_server.matrix.identifiers import RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.filtering import fitting, patterns_of
from tim_server.services.events.tokens import START, place_after, place_of, token_of
from tim_server.services.rooms.view import RoomView, reader_of, view_room
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.memberships import load_members_at
from tim_server.storage.timeline import Place, TimelinePage, TimelineRange, find_change_of_visibility, load_page


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryQuery:
    """Which page: from one token in a direction, up to another, at most `limit` events."""

    backwards: bool
    limit: int
    start: str | None = None
    to: str | None = None
    filter: RoomEventFilter = field(default_factory=RoomEventFilter)


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryPage:
    """Client events in the order asked for. `end` None: there is nothing more; `state` None: it is not asked for."""

    start: str
    end: str | None
    chunk: list[bytes]
    state: list[bytes] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomHistory:
    """Reads pages of history; `limit_max` bounds a page."""

    database: Database
    codec: Codec
    client_events: ClientEvents
    limit_max: int = 1_000

    async def page(self, requester: Requester, room_id: RoomId, query: HistoryQuery) -> HistoryPage:
        """One page of what the user may see; raises `Forbidden` for who was never joined, `InvalidParam`."""
        limit = max(query.filter.events.limit_within(query.limit, min(query.limit, self.limit_max)), 1)
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            newest = await read_newest_position(tx) if view.left is None else view.left.position
            start, within = _range(view, query, (newest, 0))
            if not query.filter.allows_room(room_id):
                return HistoryPage(start=token_of(start), end=None, chunk=[], state=None)
            page = await load_page(tx, self.codec, within, limit=limit, patterns=patterns_of(query.filter))
            seen = await self.client_events.visibility.visible(tx, requester.user_id, page.rows, view.histories)
            end = await _end_of(tx, view, page, seen, backwards=query.backwards)
            rows = fitting(query.filter, seen)
            members = await load_sender_members(tx, self.codec, rows) if query.filter.lazy_load_members else []
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), [*rows, *members], view.histories, parents=rows
            )
        write = self.client_events.event
        return HistoryPage(
            start=query.start or token_of(start),
            end=None if end is None else token_of(end),
            chunk=[write(row, view.version, surroundings, room_id=room_id) for row in rows],
            state=[write(row, view.version, surroundings, room_id=room_id) for row in members]
            if query.filter.lazy_load_members
            else None,
        )


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
    tx: Connection, view: RoomView, page: TimelinePage, seen: Sequence[EventRow], *, backwards: bool
) -> Place | None:
    """Where to go on after a page; None where there is nothing more that the user may see.

    Behind an event that is hidden, all is hidden up to where the user's membership or the history visibility changes:
    the next page begins there, so that nobody pages through what they can't see.
    """
    reached = page.reached
    if reached is None:
        return None
    last = page.rows[-1] if page.rows else None
    if last is None or (last.position, last.minor) != reached or (seen and seen[-1].nid == last.nid):
        return (reached[0], reached[1] - 1) if backwards else reached
    set_at = await find_change_of_visibility(tx, view.room_nid, reached, newest_first=backwards)
    changes = [(change.position, 0) for change in view.history.changes] + ([] if set_at is None else [set_at])
    if backwards:
        return max((change for change in changes if change < reached), default=None)
    if reached in changes or last.type == "m.room.history_visibility":
        return reached
    position, minor = min((change for change in changes if change > reached), default=(0, 0))
    return (position, minor - 1) if position else None


async def load_sender_members(tx: Connection, codec: Codec, rows: Sequence[EventRow]) -> list[EventRow]:
    """The member events of the senders of `rows`, as they were at the newest of them.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#lazy-loading-room-members
    """
    if not rows:
        return []
    position, minor = max(place_after(row) for row in rows)
    senders = sorted({row.sender for row in rows})
    members = await load_members_at(tx, rows[0].room_nid, position if minor >= 0 else position - 1, senders)
    return list((await load_events(tx, codec, [member.event_nid for member in members])).values())
