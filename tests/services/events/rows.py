"""Stored events for tests that need no database."""

from typing import Any

import orjson

from tim_server.matrix.identifiers import EventId, UserId
from tim_server.storage.events import EventRow
from tim_server.storage.state import MembershipRow

ALICE = UserId("@alice:hospital.example")
BOB = UserId("@bob:hospital.example")
ROOM_NID = 7


def make_row(**fields: Any) -> EventRow:
    """An event of Alice's at position 10, a message unless `type`, `state_key` or `content` say otherwise.

    `pdu` adds keys to its body, which otherwise holds what every PDU of a newer room version holds.
    """
    pdu = {
        "auth_events": [],
        "content": fields.pop("content", {"body": "Hello", "msgtype": "m.text"}),
        "depth": 5,
        "hashes": {"sha256": "x"},
        "origin_server_ts": 1_000,
        "prev_events": [],
        "room_id": "!room:hospital.example",
        "sender": fields.get("sender", ALICE),
        "signatures": {},
        "type": fields.get("type", "m.room.message"),
        **({"state_key": fields["state_key"]} if "state_key" in fields else {}),
        **fields.pop("pdu", {}),
    }
    known: dict[str, Any] = {
        "nid": 1,
        "room_nid": ROOM_NID,
        "position": 10,
        "minor": 0,
        "depth": 5,
        "origin_server_ts": 1_000,
        "snapshot": 3,
        "redacted_by": None,
        "replaces": None,
        "notify_class": 0,
        "soft_failed": False,
        "event_id": EventId("$event"),
        "type": "m.room.message",
        "state_key": None,
        "sender": ALICE,
        "thread_id": None,
        "rejected": None,
        "prev_nids": (),
        "auth_nids": (),
        "body": orjson.dumps(pdu),
    }
    return EventRow(**(known | fields))


def change(position: int, membership: str, event_nid: int = 0) -> MembershipRow:
    """A change of Bob's membership."""
    return MembershipRow(user_id=BOB, room_nid=ROOM_NID, membership=membership, event_nid=event_nid, position=position)
