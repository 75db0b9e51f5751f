"""Receiving what other servers send of one room: who may, what passes the checks, what becomes of it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import MatrixError, NotFound
from tim_server.matrix.events.order import in_order
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.receive import EventsMissing, Incoming
from tim_server.services.rooms.remote.check_pdus import PduCheck, event_id_of_any
from tim_server.services.rooms.remote.rescinded import Rescissions
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.events import load_events_by_id

Outcomes = dict[EventId, str | None]
"""What became of each event: None, or why it did not become part of the room."""

NEWEST_VERSION = ROOM_VERSIONS["12"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PduReceiver:
    """Takes in the PDUs of one room."""

    queues: RoomQueues
    participation: Participation
    check: PduCheck
    gate: TrustGate
    rescissions: Rescissions

    async def receive(self, origin: ServerName, room_id: RoomId, pdus: Sequence[Any]) -> Outcomes:
        """What became of the PDUs, which say to be of this room. Those that have not even an id are left out."""
        try:
            head = await self.participation.check_acl(room_id, origin)
        except NotFound as error:  # unless it is about a user of ours who is not in the room either
            return await self._refuse_all(room_id, pdus, error.message) | await self.rescissions.receive(room_id, pdus)
        except MatrixError as error:
            return await self._refuse_all(room_id, pdus, error.message)
        checked = await self.check.check(pdus, head.version, room_id)
        events, untrusted = await self._of_trusted_servers(checked.events)
        outcomes = {**checked.refused, **untrusted}
        return outcomes | await self._take_in(head, in_order(events))

    async def _refuse_all(self, room_id: RoomId, pdus: Sequence[Any], reason: str) -> Outcomes:
        """The version of a room that is not known tells how its events are named: then the newest must do."""
        head = await self.queues.heads.get(room_id)
        version = NEWEST_VERSION if head is None else head.version
        ids = (event_id_of_any(pdu, version) for pdu in pdus)
        return {event_id: reason for event_id in ids if event_id is not None}

    async def _of_trusted_servers(self, events: Sequence[Event]) -> tuple[list[Event], dict[EventId, str]]:
        """The events whose senders' servers the trust gate lets in, and why others are refused."""
        servers = {event.sender.server_name for event in events}
        verdicts = {server: await self.gate.verdict(server, ChokePoint.INCOMING_FEDERATION) for server in servers}
        refused = {
            event.event_id: f"{event.sender.server_name} is not part of the federation of this server"
            for event in events
            if not verdicts[event.sender.server_name].is_allowed
        }
        return [event for event in events if event.event_id not in refused], refused

    async def _take_in(self, head: RoomHead, events: Sequence[Event]) -> Outcomes:
        outcomes: dict[EventId, str | None] = {}
        while events:
            try:
                accepted = await self.queues.submit(head.room_id, Incoming(events=tuple(events)))
            except EventsMissing as missing:
                waiting = _resting_on(events, set(missing.event_ids))
                outcomes |= dict.fromkeys(waiting, "events that it refers to are missing")
                events = [event for event in events if event.event_id not in waiting]
                continue
            left = [event.event_id for event in events if event.event_id not in set(accepted)]
            return outcomes | dict.fromkeys(accepted) | await self._reasons(left)
        return outcomes

    async def _reasons(self, event_ids: Sequence[EventId]) -> Outcomes:
        """Why events were rejected; None for those that were known before, or are soft-failed."""
        if not event_ids:
            return {}
        store = self.queues.store
        async with store.database.connection() as connection:
            rows = await load_events_by_id(connection, store.codec, event_ids)
        return {event_id: row.rejected for event_id, row in rows.items()}


def _resting_on(events: Sequence[Event], missing: set[EventId]) -> set[EventId]:
    """The events that refer to what is missing, and those that refer to these, in order."""
    resting: set[EventId] = set()
    for event in events:
        if not (missing | resting).isdisjoint((*event.prev_events, *event.auth_events)):
            resting.add(event.event_id)
    return resting
