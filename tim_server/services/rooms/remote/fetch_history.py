"""Taking one page of history from one server: asked for, checked, with the states before its oldest events and with
what authorises its events, decided and stored.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tim_server.federation.client import FederationClient
from tim_server.federation.events import event
from tim_server.federation.history import backfill
from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.event_auth import auth_ids
from tim_server.matrix.events.read import is_key_storable, read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.matrix.room_versions import EventFormat
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receive import named_by
from tim_server.services.rooms.remote.check_pdus import PduCheck, event_id_of_any
from tim_server.services.rooms.remote.fetch_events import EventFetch
from tim_server.services.rooms.remote.history_page import HistoryPage, Link, page_of
from tim_server.services.rooms.remote.place_history import MINOR_MIN, FetchedHistory, HistoryPlacement, HoleTooSmall
from tim_server.services.rooms.remote.state_before import StateBefore
from tim_server.services.rooms.remote.untrusted import untrusted
from tim_server.services.trust.gate import TrustGate
from tim_server.storage.events import EventRow, load_events, load_events_by_id
from tim_server.storage.history_fill import HistoryFill
from tim_server.storage.holes import HoleRow, find_hole_of_time, find_minor_below
from tim_server.storage.store import Store

PAGE_EVENTS_MAX = 100
ASKED_MAX = 20
"""How many of the missing events are asked for at once: they stand in the address of the request."""
NAMED_MAX = 5_000
"""How many events those of a page may name."""
STRIDE = 2**24
"""How many events have room before one that is fetched from the midst of a hole."""
ROOM_MIN = 2**14
CREATE = ("m.room.create", "")


class HistoryRefused(Exception):
    """What a server gives is not the history that was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Given:
    """The events that a server gives, and those that it shows to be of other rooms, or to lead nowhere."""

    links: dict[EventId, Link]
    elsewhere: frozenset[EventId] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryFetch:
    """Takes pages."""

    store: Store
    client: FederationClient
    check: PduCheck
    gate: TrustGate
    states: StateBefore
    events: EventFetch
    placement: HistoryPlacement

    async def fill(self, head: RoomHead, hole: HoleRow, server: ServerName) -> bool:
        """Fill the hole with a page of the server's; False where it has changed meanwhile.

        Raises `HistoryRefused`, `StateRefused`, `HoleTooSmall`, `RemoteError`, what `egress` raises, and `DuplicateKey`
        where another process stores the same events.
        """
        asked = hole.missing[:ASKED_MAX]
        pdus = await backfill(self.client, server, head.room_id, asked, limit=PAGE_EVENTS_MAX)
        given = await self._given(head, pdus)
        return await self.store.writer.write(await self._decide(head, hole, server, given))

    async def reach(self, head: RoomHead, event_id: EventId, server: ServerName) -> bool:
        """Put one event, which the server gives, into the midst of the hole in which it lies by its own time; False
        where the hole has changed meanwhile. Raises as `fill` does."""
        given = await self._given(head, [await event(self.client, server, event_id)])
        found = given.links[event_id].event if event_id in given.links else None
        if found is None:
            raise HistoryRefused("the event is not the one that was asked for, or did not pass")
        hole, minor = await self._midst(head, found.origin_server_ts)
        beside = replace(hole, minor=minor + 1, missing=(event_id,))
        fill = await self._decide(head, beside, server, given)
        if not fill.events or fill.events[0].position is None:
            raise HistoryRefused("the event is not accepted, or is here already")
        return await self.store.writer.write(replace(fill, hole=hole, keeps_hole=True))

    async def _midst(self, head: RoomHead, ts: int) -> tuple[HoleRow, int]:
        """The hole in which an event of this time lies, and a minor that leaves room on both sides."""
        async with self.store.database.read() as tx:
            hole = await find_hole_of_time(tx, head.nid, ts)
            below = None if hole is None else await find_minor_below(tx, hole)
        if hole is None:
            raise HistoryRefused("the event lies in no hole")
        minor = hole.minor - STRIDE if below is None else (hole.minor + below) // 2
        if minor < MINOR_MIN + STRIDE or hole.minor - minor < ROOM_MIN:
            raise HoleTooSmall
        return hole, minor

    async def _decide(self, head: RoomHead, hole: HoleRow, server: ServerName, given: _Given) -> HistoryFill:
        """What is to be written of the history that leads back from what is missing in the hole."""
        rows = await self._load_named(given, hole.missing)
        elsewhere = given.elsewhere | {event_id for event_id, row in rows.items() if row.room_nid != head.nid}
        stored = {event_id: row for event_id, row in rows.items() if row.room_nid == head.nid}
        links = given.links | {e: _link(head, row) for e, row in stored.items() if row.snapshot is None}
        known = {event_id for event_id, row in stored.items() if row.snapshot is not None}
        page = page_of(hole.missing, links, known, elsewhere)
        if page is None:
            raise HistoryRefused("the page does not lead back from what was asked for")
        states = {end: await self.states.load(head, server, end) for end in page.open_ends}
        stored = await self._load_again(head, server, page, stored)
        events = [event for event_id in page.order if (event := page.links[event_id].event) is not None]
        return await self.placement.decide(
            FetchedHistory(
                head=head, hole=hole, page=page, states=states, stored=stored, hidden=await untrusted(self.gate, events)
            )
        )

    async def likely_servers(self, head: RoomHead, citing: Sequence[int] = ()) -> Sequence[ServerName]:
        """The servers that sent the `citing` events, which name the history, and the one that made the room: they have
        had it."""
        create = head.state.get(CREATE)
        nids = [*citing, *([] if create is None else [create])]
        async with self.store.database.connection() as connection:
            rows = await load_events(connection, self.store.codec, nids)
        return [rows[nid].sender.server_name for nid in nids if nid in rows]

    async def _given(self, head: RoomHead, pdus: Sequence[Any]) -> _Given:
        """The events that the server gives. Where the id of an event says what it holds, an event that nobody vouches
        for still tells what came before it, and which room it is of: its id is named by one that was checked."""
        version = head.version
        read = self.check.read(pdus, version, head.room_id, is_history=True)
        passed = {event.event_id: event for event in (await self.check.verify(read.events)).events}
        links = {event_id: Link(prev_events=event.prev_events, event=event) for event_id, event in passed.items()}
        if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
            return _Given(links=links)
        links |= {
            e.event_id: Link(prev_events=e.prev_events, event=None) for e in read.events if e.event_id not in links
        }
        for pdu in pdus if read.refused else ():
            event_id = event_id_of_any(pdu, version)
            if event_id is not None and event_id in read.refused and pdu.get("room_id") == head.room_id:
                links[event_id] = Link(prev_events=_prev_events(pdu), event=None)
        ends = {event_id for event_id, link in links.items() if link.event is None and not link.prev_events}
        return _Given(
            links={event_id: link for event_id, link in links.items() if event_id not in ends},
            elsewhere=frozenset(ends | (read.refused.keys() - links.keys())),
        )

    async def _load_named(self, given: _Given, missing: Iterable[EventId]) -> dict[EventId, EventRow]:
        """What is stored, in whatever room, of the events and of those that they name."""
        named = {*given.links, *missing}
        for link in given.links.values():
            named.update(link.prev_events if link.event is None else named_by(link.event))
        if len(named) > NAMED_MAX:
            raise HistoryRefused(f"the page names more than {NAMED_MAX} events")
        return await self._load(named)

    async def _load_again(
        self, head: RoomHead, server: ServerName, page: HistoryPage, stored: dict[EventId, EventRow]
    ) -> dict[EventId, EventRow]:
        """What is stored of the page and of its auth events, now that the states before it are, which hold most of
        these. Others are fetched, as far as the server gives them."""
        of_page = set(page.order)
        events = [event for event_id in page.order if (event := page.links[event_id].event) is not None]
        authorising = {auth_id for event in events for auth_id in auth_ids(event)} - of_page
        rows = await self._load(of_page | authorising)
        missing = authorising - rows.keys()
        if missing:
            await self.events.fetch(head, server, missing)
            rows = await self._load(of_page | authorising)
        return stored | {event_id: row for event_id, row in rows.items() if row.room_nid == head.nid}

    async def _load(self, event_ids: Iterable[EventId]) -> dict[EventId, EventRow]:
        async with self.store.database.connection() as connection:
            return await load_events_by_id(connection, self.store.codec, event_ids)


def _link(head: RoomHead, row: EventRow) -> Link:
    event: Event = read_stored_pdu(decode_lenient(row.body), head.version, row.event_id)
    return Link(prev_events=event.prev_events, event=event)


def _prev_events(pdu: Mapping[str, Any]) -> tuple[EventId, ...]:
    """What an event that is not well formed names as before it, as far as that can be read."""
    named = pdu.get("prev_events")
    return tuple(EventId(e) for e in named if _is_event_id(e)) if isinstance(named, list) else ()


def _is_event_id(value: Any) -> bool:
    return isinstance(value, str) and value.startswith("$") and is_key_storable(value)
