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
from tim_server.storage.timeline import Place, TimelineRange, load_page


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
        limit = query.filter.events.limit_within(query.limit, min(max(query.limit, 1), self.limit_max))
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            newest = await read_newest_position(tx) if view.left is None else view.left.position
            start, within = _range(view, query, (newest, 0))
            if not query.filter.allows_room(room_id):
                return HistoryPage(start=token_of(start), end=None, chunk=[], state=None)
            page = await load_page(tx, self.codec, within, limit=limit, patterns=patterns_of(query.filter))
            rows = await self.client_events.visibility.visible(tx, requester.user_id, page.rows, view.histories)
            rows = fitting(query.filter, rows)
            members = await load_sender_members(tx, self.codec, rows) if query.filter.lazy_load_members else []
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), [*rows, *members], view.histories
            )
        write = self.client_events.event
        return HistoryPage(
            start=query.start or token_of(start),
            end=None if page.reached is None else token_of(_gap_behind(page.reached, backwards=query.backwards)),
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


def _gap_behind(place: Place, *, backwards: bool) -> Place:
    """The gap on the far side of the event at `place`."""
    return (place[0], place[1] - 1) if backwards else place


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
