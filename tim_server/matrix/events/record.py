"""The event record: a PDU that has been read once, with the fields that rules ask for.

Spec: https://spec.matrix.org/v1.19/server-server-api/#pdus
"""

from dataclasses import dataclass
from typing import Any

from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Event:
    """An event of any room version.

    `pdu` is the whole object as it is signed and federated, `unsigned` excepted; it is never changed.
    `auth_events` are those that the PDU lists: in room version 12 the create event is implied and not among them.
    """

    event_id: EventId
    room_id: RoomId
    type: str
    state_key: str | None
    sender: UserId
    content: dict[str, Any]
    origin_server_ts: int
    depth: int
    prev_events: tuple[EventId, ...]
    auth_events: tuple[EventId, ...]
    redacts: EventId | None
    pdu: dict[str, Any]
    room_version: RoomVersion

    @property
    def is_state(self) -> bool:
        """Whether the event sets state: it has a state key, the empty one included."""
        return self.state_key is not None
