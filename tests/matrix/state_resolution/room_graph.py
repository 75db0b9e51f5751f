"""Rooms made by hand: events with names for ids, sent on branches that can fork.

Nothing is hashed or signed, and nothing is refused: what a branch sends cites the auth events that the selection
algorithm finds in the branch's state, and changes that state.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.event_auth import auth_types_for
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, RoomVersion
from tim_server.matrix.state_resolution import resolve

ALICE = UserId("@alice:hospital.example")
BOB = UserId("@bob:clinic.example")
CAROL = UserId("@carol:lab.example")
DAVE = UserId("@dave:pharmacy.example")

POWER_LEVELS = ("m.room.power_levels", "")
JOIN_RULES = ("m.room.join_rules", "")
TOPIC = ("m.room.topic", "")

State = dict[tuple[str, str], EventId]


def member(user_id: str) -> tuple[str, str]:
    """The key of a membership."""
    return ("m.room.member", user_id)


@dataclass
class Room:
    """All events of a room, whatever branch they are on."""

    version: RoomVersion
    room_id: RoomId
    events: dict[EventId, Event] = field(default_factory=dict)
    rejected: set[EventId] = field(default_factory=set)

    @property
    def auth_graph(self) -> dict[EventId, tuple[EventId, ...]]:
        """The auth events of every event."""
        return {event_id: event.auth_events for event_id, event in self.events.items()}

    def resolve(self, *states: Mapping[tuple[str, str], EventId]) -> State:
        """The resolution of some states of this room."""
        return resolve(self.version, states, self.events, self.auth_graph, frozenset(self.rejected))

    def branch(self, state: State, *, depth: int) -> "Branch":
        """A branch that begins with this state."""
        return Branch(room=self, state=dict(state), depth=depth)


@dataclass
class Branch:
    """A line of events, each sent in the state that those before it made."""

    room: Room
    state: State
    depth: int
    last: tuple[EventId, ...] = ()

    def fork(self) -> "Branch":
        """Another branch that goes on from here."""
        return Branch(room=self.room, state=dict(self.state), depth=self.depth, last=self.last)

    def send(
        self,
        name: str,
        key: tuple[str, str],
        content: dict[str, Any],
        *,
        sender: UserId = ALICE,
        ts: int | None = None,
        auth_events: Sequence[EventId] | None = None,
    ) -> EventId:
        """Send a state event whose id is `$name`; by Alice and a second after the last one, unless said otherwise."""
        self.depth += 1
        event_id = EventId(f"${name}")
        assert event_id not in self.room.events, f"{name} was sent before"
        self.room.events[event_id] = Event(
            event_id=event_id,
            room_id=self.room.room_id,
            type=key[0],
            state_key=key[1],
            sender=sender,
            content=content,
            origin_server_ts=self.depth * 1000 if ts is None else ts,
            depth=self.depth,
            prev_events=self.last,
            auth_events=tuple(self.select(key, sender, content) if auth_events is None else auth_events),
            redacts=None,
            pdu=self._pdu(key[0], content),
            room_version=self.room.version,
        )
        self.state[key] = event_id
        self.last = (event_id,)
        return event_id

    def select(self, key: tuple[str, str], sender: UserId, content: dict[str, Any]) -> list[EventId]:
        """The auth events selection from the branch's state."""
        if key[0] == "m.room.create":
            return []
        selection = auth_types_for(key[0], sender, key[1], content, self.room.version)
        return [self.state[other] for other in sorted(selection) if other in self.state]

    def membership(
        self, name: str, user_id: UserId, membership: str, *, sender: UserId | None = None, ts: int | None = None
    ) -> EventId:
        """A membership event, by the user themselves unless said otherwise."""
        return self.send(name, member(user_id), {"membership": membership}, sender=sender or user_id, ts=ts)

    def power_levels(
        self, name: str, users: Mapping[str, int], *, sender: UserId = ALICE, ts: int | None = None, **content: Any
    ) -> EventId:
        """A power levels event."""
        return self.send(name, POWER_LEVELS, {"users": dict(users), **content}, sender=sender, ts=ts)

    def join_rules(self, name: str, join_rule: str, *, sender: UserId = ALICE, ts: int | None = None) -> EventId:
        """A join rules event."""
        return self.send(name, JOIN_RULES, {"join_rule": join_rule}, sender=sender, ts=ts)

    def topic(self, name: str, *, sender: UserId = ALICE, ts: int | None = None) -> EventId:
        """A topic, which is the name of the event."""
        return self.send(name, TOPIC, {"topic": name}, sender=sender, ts=ts)

    def _pdu(self, event_type: str, content: dict[str, Any]) -> dict[str, Any]:
        pdu = {"type": event_type, "content": content}
        if event_type != "m.room.create" or not self.room.version.room_id_is_create_hash:
            pdu["room_id"] = self.room.room_id
        return pdu


def new_room(version: str = "11", *, users: Mapping[str, int] | None = None) -> Branch:
    """A public room made by Alice, with `users` as power levels (her 100, which since v12 she has without them).

    Events: `$create`, `$alice`, `$power`, `$public`.
    """
    rules = ROOM_VERSIONS[version]
    room = Room(version=rules, room_id=RoomId("!create" if rules.room_id_is_create_hash else "!ward:hospital.example"))
    main = room.branch({}, depth=0)
    creator = {} if rules.implicit_room_creator else {"creator": ALICE}
    main.send("create", ("m.room.create", ""), {"room_version": version, **creator})
    main.membership("alice", ALICE, "join")
    main.power_levels("power", ({} if rules.privileged_creators else {ALICE: 100}) | dict(users or {}))
    main.join_rules("public", "public")
    return main


def joined_room(version: str = "11", *, users: Mapping[str, int] | None = None) -> Branch:
    """`new_room`, which Bob and Carol have joined: `$bob`, `$carol`."""
    main = new_room(version, users=users)
    main.membership("bob", BOB, "join")
    main.membership("carol", CAROL, "join")
    return main
