"""Closing the gap before events that were received: what lies between is fetched from who sent them, and where that is
too much, the state at the gap.

Nothing is believed but what signatures and hashes say: a server may answer anything, and as much of it as it likes.
What it may cost is bounded for each attempt: rounds, events, bytes and states. Depth counts for nothing.

Spec: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import structlog

from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.history import Between, missing_events
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.services.rooms.branches import StateNids
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receive import Incoming
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.event_pool import EventPool
from tim_server.services.rooms.remote.fetch_events import EventFetch
from tim_server.services.rooms.remote.state_before import StateBefore
from tim_server.services.rooms.remote.untrusted import untrusted
from tim_server.services.trust.gate import TrustGate
from tim_server.storage.events import EventNode, load_events, load_nodes_by_id
from tim_server.storage.store import Store

NAMED_MAX = 20
"""How many events a request names as latest, and as earliest."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GapBounds:
    """What one attempt may cost. A round asks for `events_per_round`; unless it brings `events_going_on`, there is no
    use in another."""

    rounds_max: int = 10
    events_per_round: int = 20
    events_going_on: int = 10
    events_max: int = 250
    bytes_max: int = 2 * 2**20
    states_max: int = 5
    states_at_once: int = 2


class GapTooWide(Exception):
    """More states would have to be asked for than one attempt may."""


@dataclass(slots=True, kw_only=True)
class MissingEvents:
    """Closes gaps."""

    store: Store
    client: FederationClient
    check: PduCheck
    states: StateBefore
    fetching: EventFetch
    gate: TrustGate
    bounds: GapBounds = field(default_factory=GapBounds)
    _free: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        """The state of a large room is large: few are held at once."""
        self._free = asyncio.Semaphore(self.bounds.states_at_once)

    async def complete(
        self, head: RoomHead, server: ServerName, events: Sequence[Event]
    ) -> tuple[Incoming, Mapping[EventId, str]]:
        """The events with those that lack before them, in order, and the states at what still lacks; and which of the
        events were given up, and why: those before which the server tells nothing, although it knows what they are.

        Raises `RemoteError`, `StateRefused`, `GapTooWide`, and what `egress` raises.
        """
        pool = EventPool.of(events)
        await self._search(head, server, pool)
        pool.drop_untold()
        states: dict[EventId, StateNids] = {}
        if pool.is_needed:
            gaps = pool.lacking()
            if len(gaps) > self.bounds.states_max:
                raise GapTooWide(f"the states at {len(gaps)} events are not known")
            for gap in gaps:
                async with self._free:
                    states[gap] = await self._state_after(head, server, gap)
            pool.told = states.keys()
            await self._fetch_cited(head, server, pool)
        ordered = pool.ordered() if pool.is_needed else ()
        incoming = Incoming(events=ordered, states=states, hidden=await untrusted(self.gate, ordered))
        return incoming, {event_id: why for event_id, why in pool.dropped.items() if event_id in pool.sent}

    async def _search(self, head: RoomHead, server: ServerName, pool: EventPool) -> None:
        """Fetch what lies between the events and what is known, as far as the bounds allow."""
        earliest = [event_id for _, event_id in head.extremities[-NAMED_MAX:]]
        size_bytes = 0
        for number in range(self.bounds.rounds_max):
            await self._look_up(head, pool)
            lacking = pool.lacking()
            if not lacking:
                return
            between = Between(latest=pool.on_top_of(lacking)[:NAMED_MAX], earliest=earliest)
            found, unverified = await self._ask(head, server, between, is_first=number == 0)
            pool.unverified |= unverified
            size_bytes += sum(len(encode_relaxed(event.pdu)) for event in found.values())
            if size_bytes > self.bounds.bytes_max or len(pool.events) + len(found) > self.bounds.events_max:
                break
            if pool.take(found) < self.bounds.events_going_on:
                break
        await self._look_up(head, pool)

    async def _ask(
        self, head: RoomHead, server: ServerName, between: Between, *, is_first: bool
    ) -> tuple[dict[EventId, Event], set[EventId]]:
        """The events that the server gives and that pass the checks which need no room, and those that nobody has
        signed. A server that gives an error after it has helped does not help any further."""
        limit = self.bounds.events_per_round
        try:
            pdus = await missing_events(self.client, server, head.room_id, between, limit=limit)
        except RemoteError:
            if is_first:
                raise
            return {}, set()
        read = self.check.read(pdus, head.version, head.room_id)
        verified = await self.check.verify(read.events)
        return {event.event_id: event for event in verified.events}, {*verified.refused}

    async def _look_up(self, head: RoomHead, pool: EventPool) -> None:
        unknown = pool.unknown()
        nodes = await self._nodes(head, unknown)
        pool.known |= {e: e in nodes and nodes[e].has_state for e in unknown}

    async def _nodes(self, head: RoomHead, event_ids: Collection[EventId]) -> dict[EventId, EventNode]:
        """What is stored in the room of these events."""
        if not event_ids:
            return {}
        async with self.store.database.connection() as connection:
            nodes = await load_nodes_by_id(connection, event_ids)
        return {event_id: node for event_id, node in nodes.items() if node.room_nid == head.nid}

    async def _state_after(self, head: RoomHead, server: ServerName, event_id: EventId) -> StateNids:
        """The state after an event that has no place here: the one before it as the server tells, with the event, which
        is stored as an outlier."""
        before = await self.states.load(head, server, event_id)
        nodes = await self._nodes(head, [event_id])
        if event_id not in nodes:
            await self.fetching.fetch(head, server, [event_id])
            nodes = await self._nodes(head, [event_id])
        node = nodes.get(event_id)
        if node is None or node.rejected:  # what can't be had can't be authorised either
            return before
        async with self.store.database.connection() as connection:
            row = (await load_events(connection, self.store.codec, [node.nid]))[node.nid]
        return before if row.state_key is None else {**before, (row.type, row.state_key): row.nid}

    async def _fetch_cited(self, head: RoomHead, server: ServerName, pool: EventPool) -> None:
        """Have what authorises the events stored; those for which that can't be had are dropped."""
        cited = pool.cited()
        missing = cited - (await self._nodes(head, cited)).keys()
        if not missing:
            return
        await self.fetching.fetch(head, server, missing)
        missing -= (await self._nodes(head, missing)).keys()
        on_missing = [e for e, event in pool.events.items() if not missing.isdisjoint(event.auth_events)]
        pool.drop(on_missing, "what authorises the event can't be had")
