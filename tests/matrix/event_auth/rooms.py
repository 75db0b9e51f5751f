"""Rooms for the authorisation rules: a state made by hand, and what the rules say of one more event.

Nothing is hashed or signed. By default Alice has made a room that is by invitation, and has all power; Bob and Carol
are joined without power; Mallory has never been there.
"""

import itertools
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import check_auth_rules
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, V11, EventFormat, RoomVersion

ALL_VERSIONS = list(ROOM_VERSIONS.values())
ALICE = UserId("@alice:hospital.example")
BOB = UserId("@bob:hospital.example")
CAROL = UserId("@carol:clinic.example")
MALLORY = UserId("@mallory:elsewhere.example")

_numbers = itertools.count(1)


def version_name(version: RoomVersion) -> str:
    """How a parametrised test names the version."""
    return f"v{version.identifier}"


def versions(first: int, last: int = 12) -> list[RoomVersion]:
    """The room versions from one to another."""
    return ALL_VERSIONS[first - 1 : last]


def make_event(version: RoomVersion, room_id: str, type: str, sender: str, **fields: Any) -> Event:
    """An event with an id of its own, without previous and auth events unless said otherwise."""
    number = next(_numbers)
    sender_assigned = version.event_format is EventFormat.SENDER_ASSIGNED_ID
    server_name = UserId(sender).server_name
    values: dict[str, Any] = {
        "event_id": EventId(f"${number}:{server_name}" if sender_assigned else "$" + f"{number}".rjust(43, "e")),
        "state_key": None,
        "content": {},
        "origin_server_ts": number,
        "depth": number,
        "prev_events": (EventId("$before"),),
        "auth_events": (),
        "redacts": None,
        "pdu": {"room_id": room_id},
    }
    values |= fields
    return Event(room_id=RoomId(room_id), type=type, sender=UserId(sender), room_version=version, **values)


@dataclass
class Room:
    """A room of some version and its state; build it with `make_room`."""

    version: RoomVersion
    room_id: str
    state: dict[tuple[str, str], Event] = field(default_factory=dict)

    @property
    def create(self) -> Event:
        """The create event."""
        return self.state["m.room.create", ""]

    def event(self, type: str = "m.room.message", sender: str = BOB, **fields: Any) -> Event:
        """An event for this room."""
        return make_event(self.version, self.room_id, type, sender, **fields)

    def set(self, type: str, content: dict[str, Any], sender: str = ALICE, state_key: str = "") -> Event:
        """Put a state event in place, whether or not it is allowed."""
        event = self.event(type, sender, state_key=state_key, content=content)
        self.state[type, state_key] = event
        return event

    def set_member(self, user_id: str, membership: str, sender: str | None = None) -> Event:
        """Put a membership in place."""
        return self.set("m.room.member", {"membership": membership}, sender or user_id, str(user_id))

    def set_power(self, **content: Any) -> Event:
        """Put power levels in place; Alice, where the version lets her be named, has 100 unless said otherwise."""
        users = content.pop("users", {})
        if not self.version.privileged_creators:
            users = {ALICE: 100} | users
        return self.set("m.room.power_levels", {"users": users, **content})

    def rejection(self, event: Event) -> str | None:
        """Why the rules reject the event in this state, or None where they allow it."""
        try:
            check_auth_rules(event, self.state, self.version)
        except EventRejected as error:
            return str(error)
        return None

    def allows(self, type: str = "m.room.message", sender: str = BOB, **fields: Any) -> bool:
        """Whether the rules allow this event."""
        return self.rejection(self.event(type, sender, **fields)) is None

    def allows_member(self, sender: str, target: str, membership: str, **content: Any) -> bool:
        """Whether `sender` may give `target` this membership."""
        content = {"membership": membership, **content}
        return self.allows("m.room.member", sender, state_key=str(target), content=content)

    def allows_power(self, sender: str, **content: Any) -> bool:
        """Whether `sender` may replace the power levels by these."""
        return self.allows("m.room.power_levels", sender, state_key="", content=content)


def make_room(version: RoomVersion = V11, *, join_rule: str | None = "invite", **create_content: Any) -> Room:
    """A room of Alice's; see the module."""
    content: dict[str, Any] = {"room_version": version.identifier, **create_content}
    if not version.implicit_room_creator:
        content.setdefault("creator", str(ALICE))
    create_fields: dict[str, Any] = {"state_key": "", "content": content, "prev_events": ()}
    if version.room_id_is_create_hash:
        create = make_event(version, "!" + "r" * 43, "m.room.create", ALICE, pdu={}, **create_fields)
        room = Room(version=version, room_id="!" + create.event_id[1:])
        create = make_event(
            version, room.room_id, "m.room.create", ALICE, event_id=create.event_id, pdu={}, **create_fields
        )
    else:
        room = Room(version=version, room_id="!ward:hospital.example")
        create = room.event("m.room.create", ALICE, **create_fields)
    room.state["m.room.create", ""] = create
    for user_id in (ALICE, BOB, CAROL):
        room.set_member(user_id, "join")
    room.set_power()
    if join_rule is not None:
        room.set("m.room.join_rules", {"join_rule": join_rule})
    return room
