"""Taking member events of other servers into a room, for servers that ask this one to: as a resident server it tells
the others in the room of them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.federation.keys import KeyRing
from tim_server.matrix.errors import BadJson, BadSignature, EventRejected, Forbidden, InvalidParam
from tim_server.matrix.events.hashes import verify_content_hash
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.services.rooms.decide import membership_of
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import MEMBER
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.receive import EventsMissing, Incoming
from tim_server.services.rooms.relay import NotTakenIn
from tim_server.storage.events import EventRow, load_events_by_id


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedIn:
    """A member event that a server hands in; `event` is not checked."""

    origin: ServerName
    room_id: RoomId
    event_id: EventId
    event: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTakeOver:
    """Checks such events, and takes them into the room."""

    queues: RoomQueues
    keys: KeyRing

    def read(self, handed_in: HandedIn, head: RoomHead, membership: str) -> Event:
        """The event, if it is what was asked for: the own membership of a user of the origin. "The receiving server
        MUST apply certain validation before accepting the event." Raises `BadJson` for what is no event of the room's
        version, `Forbidden` for events of others, and `InvalidParam`."""
        try:
            event = read_pdu(handed_in.event, head.version)
        except EventRejected as error:
            raise BadJson(f"The event is not valid: {error}") from None
        if event.event_id != handed_in.event_id or event.room_id != handed_in.room_id:
            raise InvalidParam("The event is not the one of the path")
        if event.type != MEMBER or membership_of(event) != membership:
            raise InvalidParam(f"The event is no {membership}")
        if event.sender.server_name != handed_in.origin:
            raise Forbidden("The sender is not a user of your server")
        if event.state_key != event.sender:
            raise InvalidParam("The state_key is not the sender")
        try:
            verify_content_hash(event.pdu, head.version)
        except BadSignature as error:
            raise Forbidden(f"The event does not verify: {error}") from None
        return event

    async def take_over(self, event: Event) -> EventRow:
        """The event as it is stored, once it is part of the room. Raises `Forbidden` where a signature is missing
        or the room does not allow it, `InvalidParam` where events that it refers to are missing."""
        refused = (await self.keys.unverified([event])).get(event.event_id)
        if refused is not None:
            raise Forbidden(f"The event does not verify: {refused}")
        try:
            await self.queues.submit(event.room_id, Incoming(events=(event,), is_relayed=True))
        except EventsMissing:
            raise InvalidParam("The event refers to others that are not known here") from None
        store = self.queues.store
        async with store.database.connection() as connection:
            row = (await load_events_by_id(connection, store.codec, [event.event_id])).get(event.event_id)
        if row is None or row.rejected is not None or row.soft_failed:
            raise NotTakenIn.because(None if row is None else row.rejected)
        return row
