"""Read what relates to an event.

Spec: https://spec.matrix.org/v1.19/client-server-api/#relationships-api
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.account_data.ignored import load_ignored_users
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.tokens import START, place_of, token_of
from tim_server.services.rooms.event import view_event
from tim_server.services.rooms.view import reader_of
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Database
from tim_server.storage.events import load_events
from tim_server.storage.related_pages import RECURSION_DEPTH, ChildrenWanted, FoundEvent, load_children
from tim_server.storage.timeline import Place, TimelineRange


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationsQuery:
    """Which children of which event, and which page of them: from one token in a direction, up to another. `recurse`
    None: the client does not say."""

    event_id: EventId
    rel_type: str | None = None
    event_type: str | None = None
    recurse: bool | None = None
    backwards: bool = True
    limit: int = 20
    start: str | None = None
    to: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RelationsPage:
    """Client events in the order asked for, and tokens of the pages after and before where there may be some."""

    chunk: list[bytes]
    next_batch: str | None
    prev_batch: str | None
    recursion_depth: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomRelations:
    """Reads pages of relations; `limit_max` bounds a page."""

    database: Database
    client_events: ClientEvents
    limit_max: int = 1_000

    async def page(self, requester: Requester, room_id: RoomId, query: RelationsQuery) -> RelationsPage:
        """One page of the children that the user may see, without those of users whom they ignore. Raises `NotFound`
        where the event is not there, or not for the user to see, and `InvalidParam`."""
        limit, codec = min(query.limit, self.limit_max), self.client_events.codec
        wanted = ChildrenWanted(
            parent=query.event_id,
            rel_type=query.rel_type,
            event_type=query.event_type,
            recurse=bool(query.recurse),
        )
        async with self.database.read() as tx:
            view = await view_event(tx, self.client_events, requester, room_id, query.event_id)
            within = _range(query, view.row.room_nid, (await read_newest_position(tx), 0))
            ignored = await load_ignored_users(tx, codec, requester.user_id)
            found = await load_children(tx, wanted, within, ignored=ignored, limit=limit + 1)
            rows = await load_events(tx, codec, [child.nid for child in found[:limit]])
            seen = await self.client_events.visibility.visible(
                tx, requester.user_id, [rows[child.nid] for child in found[:limit]], view.histories
            )
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), seen, view.histories, parents=seen
            )
        return RelationsPage(
            chunk=[self.client_events.event(row, view.version, surroundings, room_id=room_id) for row in seen],
            next_batch=_end_of(found[:limit], backwards=query.backwards) if len(found) > limit else None,
            prev_batch=query.start,
            recursion_depth=None if query.recurse is None else RECURSION_DEPTH if query.recurse else 1,
        )


def _range(query: RelationsQuery, room_nid: int, newest: Place) -> TimelineRange:
    start = (newest if query.backwards else START) if query.start is None else place_of(query.start)
    end = (START if query.backwards else newest) if query.to is None else place_of(query.to)
    after, until = (end, start) if query.backwards else (start, end)
    return TimelineRange(room_nid=room_nid, after=after, until=until, newest_first=query.backwards)


def _end_of(page: Sequence[FoundEvent], *, backwards: bool) -> str:
    """The gap after the last event of a page, in its direction."""
    position, minor = page[-1].place
    return token_of((position, minor - 1 if backwards else minor))
