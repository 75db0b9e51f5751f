"""Taking in a room's state as another server tells it, with its auth chain: each event is checked and stored as an
outlier, whatever their number, before any of it counts.

A large room's state has tens of thousands of events. They are read, verified and stored some hundreds at a time; what
is held of all of them is their JSON and what ties them together. Events that do not pass are left out, as one server
that has lost its keys must not keep others out of the room.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

import structlog

from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient, encode_relaxed
from tim_server.matrix.event_auth import auth_ids
from tim_server.matrix.events.order import order_of
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.matrix.room_versions import EventFormat
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.remote.check_pdus import PduCheck
from tim_server.services.rooms.remote.outliers import Outliers, in_writes
from tim_server.storage.events import EventNode, load_nodes_by_id

EVENTS_PER_CHECK = 600

StateKey = tuple[str, str]

log = structlog.get_logger(__name__)


class StateRefused(Exception):
    """What a server tells can't be a state of the room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TakenIn:
    """The nids of the state's events by key. Members of `unverified` servers are not among them, as what they are said
    to have signed does not verify."""

    state: Mapping[StateKey, int]
    unverified: Collection[ServerName]


@dataclass(slots=True, kw_only=True)
class _Intake:
    """What has passed so far. `nids` are those of events that are stored, None for those that must not count; `bodies`
    is the JSON of the others. `told` are digests of what was told: most of a state is told again in its auth chain."""

    head: RoomHead
    told: set[bytes] = field(default_factory=set)
    state: dict[StateKey, EventId] = field(default_factory=dict)
    nids: dict[EventId, int | None] = field(default_factory=dict)
    bodies: dict[EventId, bytes] = field(default_factory=dict)
    authorised_by: dict[EventId, tuple[EventId, ...]] = field(default_factory=dict)
    unverified: set[ServerName] = field(default_factory=set)
    refused: int = 0

    def is_seen(self, event_id: EventId) -> bool:
        return event_id in self.nids or event_id in self.bodies

    def untold(self, pdus: Iterable[bytes]) -> Iterable[bytes]:
        """Those of the PDUs that were not told before."""
        for pdu in pdus:
            if (digest := sha256(pdu).digest()) not in self.told:
                self.told.add(digest)
                yield pdu


@dataclass(frozen=True, slots=True, kw_only=True)
class StateIntake:
    """Takes in states."""

    check: PduCheck
    outliers: Outliers
    parsed: ParsedEvents

    async def take_in(self, head: RoomHead, state: list[bytes], auth_chain: list[bytes]) -> TakenIn:
        """The state, once its events are stored as outliers of the known room. Both lists hold the JSON of PDUs, and
        are emptied on the way. Raises `StateRefused` where two events have the same key."""
        intake = _Intake(head=head)
        while state:
            self._note_state(intake, await self._check(intake, intake.untold(_some(state))))
        while auth_chain:
            await self._check(intake, intake.untold(_some(auth_chain)))
        await self._store(intake)
        if intake.refused:
            log.info("events of a room's state did not pass", room_id=head.room_id, count=intake.refused)
        found = {key: nid for key, event_id in intake.state.items() if (nid := intake.nids.get(event_id)) is not None}
        return TakenIn(state=found, unverified=intake.unverified)

    async def _check(self, intake: _Intake, pdus: Iterable[bytes]) -> Sequence[Event]:
        """The events that pass, of which those that are stored already have done so before."""
        head = intake.head
        read = self.check.read(_decoded(pdus), head.version, head.room_id)
        fresh = [event for event in read.events if not intake.is_seen(event.event_id)]
        nodes: dict[EventId, EventNode] = {}
        if fresh:
            async with self.outliers.store.database.connection() as connection:
                nodes = await load_nodes_by_id(connection, [event.event_id for event in fresh])
        for event_id, node in nodes.items():
            intake.nids[event_id] = node.nid if node.room_nid == head.nid and not node.rejected else None
        checked = await self.check.verify([event for event in fresh if event.event_id not in nodes])
        for event in checked.events:
            intake.bodies[event.event_id] = encode_relaxed(event.pdu)
            intake.authorised_by[event.event_id] = auth_ids(event)
        intake.refused += len(read.refused) + len(checked.refused)
        intake.unverified |= {e.sender.server_name for e in fresh if e.event_id in checked.refused and _is_join(e)}
        await asyncio.sleep(0)
        passed = {event.event_id: event for event in checked.events}
        known = [event for event in read.events if event.event_id not in passed and intake.is_seen(event.event_id)]
        return [*checked.events, *await self._as_stored(intake, known)]

    async def _as_stored(self, intake: _Intake, events: Sequence[Event]) -> Sequence[Event]:
        """In v1 and v2 the id of an event says nothing of its content: what is stored under it counts."""
        if intake.head.version.event_format is not EventFormat.SENDER_ASSIGNED_ID:
            return events
        nids = [nid for event in events if (nid := intake.nids.get(event.event_id)) is not None]
        stored = (await self.parsed.load(nids, intake.head.version)).values()
        return [*stored, *(event for event in events if event.event_id in intake.bodies)]

    def _note_state(self, intake: _Intake, events: Iterable[Event]) -> None:
        for event in events:
            if event.state_key is None:
                raise StateRefused("the state holds an event that is none")
            if intake.state.setdefault((event.type, event.state_key), event.event_id) != event.event_id:
                raise StateRefused(f"the state holds two events of type {event.type} with the same state_key")

    async def _store(self, intake: _Intake) -> None:
        head, order = intake.head, order_of(intake.authorised_by)
        intake.refused += len(intake.bodies) - len(order)
        for some in in_writes(order):
            bodies = {event_id: intake.bodies.pop(event_id) for event_id in some}
            events = [read_stored_pdu(decode_lenient(body), head.version, e) for e, body in bodies.items()]
            kept = await self.outliers.keep(head.nid, head.version, events, absent=bodies.keys() | intake.bodies.keys())
            for event_id in some:
                intake.nids[event_id] = None if event_id in kept.rejected else kept.nids.get(event_id)
            intake.refused += sum(intake.nids[event_id] is None for event_id in some)


def _is_join(event: Event) -> bool:
    return event.type == MEMBER and event.content.get("membership") == "join"


def _some(pdus: list[bytes]) -> list[bytes]:
    """Some of the PDUs, taken off the list."""
    taken = pdus[-EVENTS_PER_CHECK:]
    del pdus[-EVENTS_PER_CHECK:]
    return taken


def _decoded(pdus: Iterable[bytes]) -> Iterable[object]:
    for pdu in pdus:
        try:
            yield decode_lenient(pdu)
        except CanonicalJsonError:
            continue
