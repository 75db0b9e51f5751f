"""Forks of a room, as another server makes them."""

import itertools
import time

import nacl.signing

from tests.services.rooms.conftest import Rooms
from tim_server.matrix.event_auth import auth_types_for
from tim_server.matrix.events.build import Author, NewPdu, build_event
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import EventFormat
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receive import Incoming

CLINIC = Author(
    server_name=ServerName("clinic.example"),
    key=SigningKey(key_id="ed25519:c", key=nacl.signing.SigningKey(b"\x02" * 32)),
)
CAROL = UserId("@carol:clinic.example")
PRACTICE = Author(
    server_name=ServerName("practice.example"),
    key=SigningKey(key_id="ed25519:p", key=nacl.signing.SigningKey(b"\x03" * 32)),
)
DAN = UserId("@dan:practice.example")
MEMBER = "m.room.member"
_numbers = itertools.count()


class Fork:
    """Events of a server, Carol's unless said otherwise, built on a point of the room that it knows."""

    def __init__(
        self, head: RoomHead, events: dict[int, Event], *, author: Author = CLINIC, sender: UserId = CAROL
    ) -> None:
        self.author, self.sender = author, sender
        self.room_id, self.version = head.room_id, head.version
        self.state = {key: events[nid] for key, nid in head.state.items() if nid in events}
        self.prev = tuple(event_id for _, event_id in head.extremities)
        self.depth = head.depth
        self.assigns_ids = head.version.event_format is EventFormat.SENDER_ASSIGNED_ID

    def make(self, event_type: str, content: dict[str, object], **fields: object) -> Event:
        """The next event of the fork."""
        state_key = fields.get("state_key")
        sender = fields.get("sender", self.sender)
        keys = auth_types_for(event_type, str(sender), state_key, content, self.version)  # type: ignore[arg-type]
        self.depth += 1
        new = NewPdu(
            room_id=self.room_id,
            type=event_type,
            state_key=state_key,  # type: ignore[arg-type]
            sender=sender,  # type: ignore[arg-type]
            content=content,
            prev_events=self.prev,
            auth_events=tuple(self.state[key].event_id for key in sorted(keys) if key in self.state),
            depth=self.depth,
            origin_server_ts=int(time.time() * 1000),
            redacts=fields.get("redacts"),  # type: ignore[arg-type]
            event_id=EventId(f"$fork{next(_numbers)}:{self.author.server_name}") if self.assigns_ids else None,
        )
        event, _ = build_event(new, self.version, fields.get("author", self.author))  # type: ignore[arg-type]
        self.prev = (event.event_id,)
        if state_key is not None:
            self.state[event_type, str(state_key)] = event
        return event


async def fork_of(rooms: Rooms, room_id: RoomId) -> Fork:
    """A fork that begins at the room's head."""
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    return Fork(head, await rooms.queues.parsed.load(head.state.values(), head.version))


async def room_with_carol(rooms: Rooms, version: str = "11", **power: object) -> tuple[RoomId, Fork]:
    """A room that Carol has joined from her server."""
    room_id = await rooms.create(version, **power)
    fork = await fork_of(rooms, room_id)
    await rooms.queues.submit(room_id, Incoming(events=(fork.make(MEMBER, {"membership": "join"}, state_key=CAROL),)))
    return room_id, fork
