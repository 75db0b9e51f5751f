"""Receiving what other servers send of one room: who may, what passes the checks, what becomes of it.

What can be judged is judged at once. What can't, because events before it are missing or the room is slow, is kept
until it can: its sender is told that it is here either way.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

import asyncio
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.matrix.canonical_json import CanonicalJsonError, encode_relaxed
from tim_server.matrix.errors import LimitExceeded, MatrixError, NotFound
from tim_server.matrix.event_auth import auth_ids
from tim_server.matrix.events.order import in_order
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.queue import RoomBroken, RoomQueues
from tim_server.services.rooms.receive import EventsMissing, Incoming
from tim_server.services.rooms.remote.check_pdus import PduCheck, event_id_of_any
from tim_server.services.rooms.remote.rescinded import Rescissions
from tim_server.services.rooms.remote.untrusted import untrusted
from tim_server.services.rooms.remote.waiting_events import WaitingEvents
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.trust.gate import TrustGate

Outcomes = dict[EventId, str | None]
"""What became of each event: None where it was received, or why it was dropped. An event that is rejected or
soft-failed was received: "If an event in an incoming transaction is rejected, this should not cause the transaction
request to be responded to with an error response"."""

SLOW_MAX = 50
"""How many rooms' events go on being judged once they are kept; beyond that they are let go, and come up in turn."""
NEWEST_VERSION = ROOM_VERSIONS["12"]

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class PduReceiver:
    """Takes in the PDUs of one room. After `patience_s` what is not decided yet is kept, so that a room which is slow,
    or waits for a server's keys, does not hold up others."""

    queues: RoomQueues
    participation: Participation
    check: PduCheck
    gate: TrustGate
    rescissions: Rescissions
    waiting: WaitingEvents
    patience_s: float = 10.0
    counts: Counter[str] = field(default_factory=lambda: Counter(received=0, dropped=0, waiting=0))
    """Events of transactions by what was made of them; those that are waiting are among those received."""
    _slow: "set[asyncio.Task[Outcomes]]" = field(default_factory=set)

    async def receive(self, origin: ServerName, room_id: RoomId, pdus: Sequence[Any]) -> Outcomes:
        """What became of the PDUs, which say to be of this room. Those that have not even an id are left out. Raises
        `Unavailable` where nothing can be stored."""
        outcomes = await self._receive_in_time(origin, room_id, pdus)
        for error in outcomes.values():
            self.counts["received" if error is None else "dropped"] += 1
        return outcomes

    async def _receive_in_time(self, origin: ServerName, room_id: RoomId, pdus: Sequence[Any]) -> Outcomes:
        try:
            head = await self.participation.check_acl(room_id, origin)
        except NotFound as error:
            return await self._receive_outside(origin, room_id, pdus, error.message)
        except MatrixError as error:
            return await self._refuse_all(room_id, pdus, error.message)
        task = asyncio.create_task(self._receive(head, origin, pdus), name="receive-pdus")
        done, _ = await asyncio.wait([task], timeout=self.patience_s)
        if done:
            return task.result()
        if len(self._slow) < SLOW_MAX:
            self._slow.add(task)
            task.add_done_callback(self._forget)
        else:
            task.cancel()
        return await self._keep(head, origin, _by_id(head, pdus))

    async def _receive_outside(self, origin: ServerName, room_id: RoomId, pdus: Sequence[Any], reason: str) -> Outcomes:
        """Of a room that this server is not in: kept where it is about to come in, else refused, unless it is about a
        user of ours who is not in the room either."""
        is_coming = await self.waiting.joins.is_under_way(room_id)
        head = await self.queues.heads.get(room_id) if is_coming else None
        if head is None:
            outcomes = await self._refuse_all(room_id, pdus, reason)
        else:
            outcomes = await self._keep(head, origin, _by_id(head, pdus))
        return outcomes | await self.rescissions.receive(room_id, pdus)

    async def close(self) -> None:
        """Finish what was begun."""
        if self._slow:
            await asyncio.wait(list(self._slow))

    def _forget(self, task: "asyncio.Task[Outcomes]") -> None:
        self._slow.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.info("events of a slow room will be tried again", error=type(error).__name__)

    async def _receive(self, head: RoomHead, origin: ServerName, pdus: Sequence[Any]) -> Outcomes:
        checked = await self.check.check(pdus, head.version, head.room_id)
        outcomes: Outcomes = {**checked.refused}
        hidden = await untrusted(self.gate, checked.events)
        outcomes |= {
            event.event_id: f"{event.sender.server_name} is not part of the federation of this server"
            for event in checked.events
            if event.event_id in hidden
        }
        ordered = in_order(checked.events)
        outcomes |= dict.fromkeys(
            {e.event_id for e in checked.events} - {e.event_id for e in ordered}, "it has no place"
        )
        needed = _needed(ordered, hidden)
        events = [event for event in ordered if event.event_id in needed]
        return await self._take_in(head, origin, events, hidden=hidden) | outcomes

    async def _refuse_all(self, room_id: RoomId, pdus: Sequence[Any], reason: str) -> Outcomes:
        """The version of a room that is not known tells how its events are named: then the newest must do."""
        head = await self.queues.heads.get(room_id)
        version = NEWEST_VERSION if head is None else head.version
        ids = (event_id_of_any(pdu, version) for pdu in pdus)
        return {event_id: reason for event_id in ids if event_id is not None}

    async def _take_in(
        self, head: RoomHead, origin: ServerName, events: Sequence[Event], *, hidden: Collection[EventId]
    ) -> Outcomes:
        kept: dict[EventId, bytes] = {}
        while events:
            try:
                await self.queues.submit(head.room_id, Incoming(events=tuple(events), hidden=hidden))
                break
            except EventsMissing as missing:
                resting = _resting_on(events, set(missing.event_ids))
            except LimitExceeded:
                resting = {event.event_id for event in events}
            except RoomBroken as error:
                return dict.fromkeys((event.event_id for event in events), error.message)
            kept |= {event.event_id: encode_relaxed(event.pdu) for event in events if event.event_id in resting}
            events = [event for event in events if event.event_id not in resting]
        outcomes: Outcomes = dict.fromkeys(event.event_id for event in events)
        return outcomes | await self._keep(head, origin, kept) if kept else outcomes

    async def _keep(self, head: RoomHead, origin: ServerName, pdus: dict[EventId, bytes]) -> Outcomes:
        kept = await self.waiting.keep(head, origin, pdus)
        self.counts["waiting"] += len(kept)
        return {e: None if e in kept else "too many events of this room wait for what is missing" for e in pdus}


def _by_id(head: RoomHead, pdus: Iterable[Any]) -> dict[EventId, bytes]:
    """PDUs that can be kept, of which nothing is checked."""
    found: dict[EventId, bytes] = {}
    for pdu in pdus:
        event_id = event_id_of_any(pdu, head.version)
        try:
            if event_id is not None:
                found[event_id] = encode_relaxed(pdu)
        except CanonicalJsonError:
            continue
    return found


def _needed(events: Sequence[Event], hidden: Collection[EventId]) -> set[EventId]:
    """The events, of hidden ones those only on which others stand. Each comes after those that it refers to."""
    needed: set[EventId] = set()
    for event in reversed(events):
        if event.event_id in needed or event.event_id not in hidden:
            needed.update((event.event_id, *event.prev_events, *auth_ids(event)))
    return needed


def _resting_on(events: Sequence[Event], missing: set[EventId]) -> set[EventId]:
    """The events that refer to what is missing, and those that refer to these, in order."""
    resting: set[EventId] = set()
    for event in events:
        if not (missing | resting).isdisjoint((*event.prev_events, *event.auth_events)):
            resting.add(event.event_id)
    return resting
