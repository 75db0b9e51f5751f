"""Outliers: events that are known for what they authorise or which state they are, without a place in the timeline.

They are stored about 500 at a time, each after those in its `auth_events`, and by those alone it is decided whether
they are rejected. What is stored already is left as it is, so that whoever was interrupted begins anew and loses
nothing.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import EventRejected, Unavailable
from tim_server.matrix.event_auth import auth_ids, check_auth_events, check_auth_rules
from tim_server.matrix.events.order import order_of
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.check_event import OF_ANOTHER_ROOM
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, DuplicateKey
from tim_server.storage.events import EventNode, load_nodes_by_id
from tim_server.storage.new_events import NewEvent, PlacedEvent, insert_events
from tim_server.storage.rooms import load_head_version
from tim_server.storage.store import Store

CREATE = ("m.room.create", "")
EVENTS_PER_WRITE = 500
EVENTS_BETWEEN_PAUSES = 50
ATTEMPTS_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptOutliers:
    """What became of events: `nids` of those that are stored now, of which `rejected` are not allowed by what they
    cite. `missing` are auth events that are neither stored nor given; whatever rests on them was not stored."""

    nids: Mapping[EventId, int]
    rejected: frozenset[EventId]
    missing: frozenset[EventId]


@dataclass(slots=True, kw_only=True)
class _Work:
    """The events of one call. `nodes` are those of the room that are stored, or decided."""

    room_nid: int
    version: RoomVersion
    nodes: dict[EventId, EventNode]
    elsewhere: frozenset[EventId]
    fresh: dict[EventId, Event]
    order: Sequence[EventId]
    missing: set[EventId] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outliers:
    """Stores events as outliers."""

    store: Store
    parsed: ParsedEvents

    async def keep(
        self, room_nid: int, version: RoomVersion, events: Sequence[Event], *, absent: Set[EventId] = frozenset()
    ) -> KeptOutliers:
        """Store events of a known room that have passed the checks which need no room, in any order. `absent` were
        found not to be stored just now."""
        for _ in range(ATTEMPTS_MAX):
            work = await self._begin(room_nid, version, events, absent)
            try:
                for some in in_writes(work.order):
                    await self._keep(work, some)
            except DuplicateKey:  # another process has stored some of them meanwhile
                absent = frozenset()
                continue
            given = {event.event_id for event in events} & work.nodes.keys()
            return KeptOutliers(
                nids={event_id: work.nodes[event_id].nid for event_id in given},
                rejected=frozenset(event_id for event_id in given if work.nodes[event_id].rejected),
                missing=frozenset(work.missing),
            )
        raise Unavailable("The events could not be stored; try again")

    async def _begin(self, room_nid: int, version: RoomVersion, events: Sequence[Event], absent: Set[EventId]) -> _Work:
        named = {event.event_id for event in events}
        named.update(auth_id for event in events for auth_id in auth_ids(event))
        nodes: dict[EventId, EventNode] = {}
        if not named <= absent:
            async with self.store.database.connection() as connection:
                nodes = await load_nodes_by_id(connection, named - absent)
        elsewhere = frozenset(event_id for event_id, node in nodes.items() if node.room_nid != room_nid)
        fresh = {event.event_id: event for event in events if event.event_id not in nodes}
        return _Work(
            room_nid=room_nid,
            version=version,
            # Nothing that other rooms hold may authorise anything in this one.
            nodes={event_id: node for event_id, node in nodes.items() if event_id not in elsewhere},
            elsewhere=elsewhere,
            fresh=fresh,
            order=order_of({event_id: auth_ids(event) for event_id, event in fresh.items()}),
        )

    async def _keep(self, work: _Work, event_ids: Sequence[EventId]) -> None:
        """Decide and store some of the events, whose auth events come before them."""
        cited = {auth_id for event_id in event_ids for auth_id in auth_ids(work.fresh[event_id])}
        stored = [work.nodes[auth_id].nid for auth_id in cited if auth_id in work.nodes and auth_id not in work.fresh]
        known = {event.event_id: event for event in (await self.parsed.load(stored, work.version)).values()}
        nids = iter(await self.store.writer.take_nids(len(event_ids)))
        new: list[NewEvent] = []
        for count, event_id in enumerate(event_ids):
            if count % EVENTS_BETWEEN_PAUSES == 0:
                await asyncio.sleep(0)
            event = work.fresh[event_id]
            here = [auth_id for auth_id in auth_ids(event) if auth_id not in work.elsewhere]
            missing = [auth_id for auth_id in here if auth_id not in work.nodes]
            if missing:
                work.missing.update(auth_id for auth_id in missing if auth_id not in work.fresh)
                continue
            rejected: str | None = OF_ANOTHER_ROOM
            if len(here) == len(auth_ids(event)):
                refused = frozenset(auth_id for auth_id in here if work.nodes[auth_id].rejected)
                rejected = _rejection(event, [work.fresh.get(auth_id) or known[auth_id] for auth_id in here], refused)
            auth_nids = [work.nodes[auth_id].nid for auth_id in event.auth_events if auth_id in work.nodes]
            new.append(_outlier(next(nids), event, auth_nids=auth_nids, rejected=rejected))
            self._decided(work, event, new[-1])
        if new:
            await self.store.writer.write(_Keep(codec=self.store.codec, room_nid=work.room_nid, events=tuple(new)))

    def _decided(self, work: _Work, event: Event, outlier: NewEvent) -> None:
        is_rejected = outlier.rejected is not None
        work.nodes[event.event_id] = EventNode(
            nid=outlier.nid, room_nid=work.room_nid, rejected=is_rejected, outlier=True, has_state=False
        )
        self.parsed.remember(outlier.nid, event, outlier.body)


def in_writes(event_ids: Sequence[EventId]) -> Iterator[Sequence[EventId]]:
    """The events that are stored at once: about `EVENTS_PER_WRITE`, so that a few more need no write of their own."""
    count = max(1, round(len(event_ids) / EVENTS_PER_WRITE))
    each = -(-len(event_ids) // count)
    for start in range(0, len(event_ids), each or 1):
        yield event_ids[start : start + each]


def _rejection(event: Event, authorising: Iterable[Event], rejected: frozenset[EventId]) -> str | None:
    """Check 4, "Passes authorization rules based on the event's auth events, otherwise it is rejected": why not."""
    by_id = {each.event_id: each for each in authorising}
    try:
        check_auth_events(event, [by_id[event_id] for event_id in event.auth_events], rejected)
        state = {(each.type, each.state_key or ""): each for each in by_id.values() if each.event_id not in rejected}
        check_auth_rules(event, state, event.room_version)
    except EventRejected as error:
        return str(error)
    return None


def _outlier(nid: int, event: Event, *, auth_nids: Sequence[int], rejected: str | None) -> NewEvent:
    return NewEvent(
        nid=nid,
        event_id=event.event_id,
        type=event.type,
        state_key=event.state_key,
        sender=event.sender,
        origin_server_ts=event.origin_server_ts,
        depth=event.depth,
        prev_nids=(),
        auth_nids=tuple(auth_nids),
        body=encode_relaxed(event.pdu),
        snapshot=None,
        outlier=True,
        rejected=rejected,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Keep:
    codec: Codec
    room_nid: int
    events: tuple[NewEvent, ...]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if await load_head_version(tx, self.room_nid) is None:  # it was deleted, and would be found as another room's
            raise Unavailable("The room was forgotten meanwhile; try again")
        await insert_events(tx, self.codec, [PlacedEvent(event, self.room_nid, None) for event in self.events])
