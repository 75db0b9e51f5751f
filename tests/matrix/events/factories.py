"""Events of any room version, signed by a key that is the same in each run; a test says only what differs."""

from typing import Any

import nacl.signing

from tim_server.matrix.events.build import Author, NewPdu
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import EventId, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, EventFormat, RoomVersion

ALL_VERSIONS = list(ROOM_VERSIONS.values())
SERVER = ServerName("hospital.example")
KEY = SigningKey(key_id="ed25519:a1", key=nacl.signing.SigningKey(bytes(range(32))))
OTHER_KEY = SigningKey(key_id="ed25519:a1", key=nacl.signing.SigningKey(bytes(range(1, 33))))
AUTHOR = Author(server_name=SERVER, key=KEY)
ALICE = UserId("@alice:hospital.example")
BOB = UserId("@bob:clinic.example")


def version_name(version: RoomVersion) -> str:
    """How a parametrised test names the version."""
    return f"v{version.identifier}"


def room_id(version: RoomVersion) -> RoomId:
    """A room id of the version's form."""
    return RoomId("!" + "r" * 43 if version.room_id_is_create_hash else "!ward:hospital.example")


def event_id(version: RoomVersion, name: str = "a") -> EventId:
    """An event id of the version's form."""
    if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        return EventId(f"${name}:hospital.example")
    return EventId("$" + (name * 43)[:43])


def new_pdu(version: RoomVersion, **changes: Any) -> NewPdu:
    """A message of Alice's with one previous and two auth events, unless said otherwise."""
    fields: dict[str, Any] = {
        "room_id": room_id(version),
        "type": "m.room.message",
        "state_key": None,
        "sender": ALICE,
        "content": {"body": "Good morning", "msgtype": "m.text"},
        "prev_events": (event_id(version, "p"),),
        "auth_events": (event_id(version, "q"), event_id(version, "s")),
        "depth": 12,
        "origin_server_ts": 1_760_000_000_000,
    }
    if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        fields["event_id"] = event_id(version, "new")
    return NewPdu(**(fields | changes))


def create_pdu(version: RoomVersion, **changes: Any) -> NewPdu:
    """The create event of a room."""
    fields = {
        "room_id": None if version.room_id_is_create_hash else room_id(version),
        "type": "m.room.create",
        "state_key": "",
        "content": {"creator": ALICE, "room_version": version.identifier},
        "prev_events": (),
        "auth_events": (),
        "depth": 1,
    }
    return new_pdu(version, **(fields | changes))
