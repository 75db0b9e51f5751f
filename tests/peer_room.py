"""A room that a peer made by hand holds, and lets others join: valid in every room version, unless a test breaks it.

room = PeerRoom.create(peer.author, version="11")
room.join("@nurse:peer.example")
room.serve(peer)                      # make_join, send_join v2 and v1
room.joins[-1]                        # the join events that came
"""

import itertools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

import orjson
from aiohttp import web

from tests.peer import Asked, Peer
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.event_auth import auth_types_for
from tim_server.matrix.events.build import Author, NewPdu, build_event
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import EventFormat, RoomVersion, room_version

FEDERATION = "/_matrix/federation"
CREATE = ("m.room.create", "")
MEMBER = "m.room.member"
_numbers = itertools.count()


@dataclass
class PeerRoom:
    """The room. `state` is its newest state, `prev` its forward extremities, `joins` the join events that came,
    `before` the state before each event.

    A test may put its own function into `alter`: it gets each answer to send_join before it is sent.
    """

    author: Author
    version: RoomVersion
    room_id: RoomId
    creator: UserId
    events: dict[EventId, Event] = field(default_factory=dict)
    state: dict[tuple[str, str], Event] = field(default_factory=dict)
    prev: tuple[EventId, ...] = ()
    depth: int = 0
    joins: list[Event] = field(default_factory=list)
    before: dict[EventId, dict[tuple[str, str], Event]] = field(default_factory=dict)
    alter: Callable[[dict[str, Any]], Any] = lambda answer: answer

    @classmethod
    def create(cls, author: Author, version: str = "11", *, join_rule: Any = "public", **power: Any) -> "PeerRoom":
        """A room with a creator, power levels, a join rule (a string or the content) and shared history."""
        rules = room_version(version)
        creator = UserId(f"@founder:{author.server_name}")
        named = RoomId("") if rules.room_id_is_create_hash else RoomId(f"!peer{next(_numbers)}:{author.server_name}")
        room = cls(author, rules, named, creator)
        content = {"room_version": version} | ({} if rules.implicit_room_creator else {"creator": creator})
        room.room_id = room.add(CREATE[0], content, state_key="").room_id
        room.join(creator)
        users = {} if rules.privileged_creators else {str(creator): 100}
        room.add("m.room.power_levels", {"users": users, **power}, state_key="")
        rule = {"join_rule": join_rule} if isinstance(join_rule, str) else join_rule
        room.add("m.room.join_rules", rule, state_key="")
        room.add("m.room.history_visibility", {"history_visibility": "shared"}, state_key="")
        return room

    def make(
        self,
        type: str,
        content: dict[str, Any],
        *,
        sender: str | None = None,
        state_key: str | None = None,
        author: Author | None = None,
        **fields: Any,
    ) -> Event:
        """An event on the newest state, which does not become part of the room; the creator's unless said otherwise."""
        author, user_id = author or self.author, UserId(sender or self.creator)
        keys = auth_types_for(type, user_id, state_key, content, self.version)
        assigns_ids = self.version.event_format is EventFormat.SENDER_ASSIGNED_ID
        is_nameless = type == CREATE[0] and self.version.room_id_is_create_hash
        new: dict[str, Any] = {
            "room_id": None if is_nameless else self.room_id,
            "type": type,
            "state_key": state_key,
            "sender": user_id,
            "content": content,
            "prev_events": self.prev,
            "auth_events": tuple(self.state[key].event_id for key in sorted(keys) if key in self.state),
            "depth": self.depth + 1,
            "origin_server_ts": int(time.time() * 1000),
            "event_id": EventId(f"$made{next(_numbers)}:{author.server_name}") if assigns_ids else None,
        }
        return build_event(NewPdu(**(new | fields)), self.version, author)[0]

    def take(self, event: Event) -> Event:
        """Have an event become part of the room."""
        self.events[event.event_id] = event
        self.before[event.event_id] = dict(self.state)
        self.prev, self.depth = (event.event_id,), event.depth
        if event.state_key is not None:
            self.state[event.type, event.state_key] = event
        return event

    def add(self, type: str, content: dict[str, Any], **fields: Any) -> Event:
        """As `make`, and the event becomes part of the room."""
        return self.take(self.make(type, content, **fields))

    def say(self, text: str, **fields: Any) -> Event:
        """A message, which becomes part of the room."""
        return self.add("m.room.message", {"msgtype": "m.text", "body": text}, **fields)

    def join(self, user_id: str, **fields: Any) -> Event:
        """Somebody joins; `author` where it is not the peer's own user."""
        return self.member(user_id, "join", sender=user_id, **fields)

    def member(self, user_id: str, membership: str, *, sender: str | None = None, **fields: Any) -> Event:
        """A change of somebody's membership, by the creator unless said otherwise."""
        return self.add(MEMBER, {"membership": membership}, sender=sender, state_key=str(user_id), **fields)

    def auth_chain(self, events: Iterable[Event]) -> list[Event]:
        """What the events' auth chains hold, without themselves; since v12 also the create event."""
        found: dict[EventId, Event] = {}
        waiting = [auth_id for event in events for auth_id in event.auth_events]
        if self.version.room_id_is_create_hash:
            waiting.append(self.state[CREATE].event_id)
        while waiting:
            event_id = waiting.pop()
            if event_id not in found:
                found[event_id] = self.events[event_id]
                waiting += self.events[event_id].auth_events
        return list(found.values())

    def template(self, user_id: str, **content: Any) -> dict[str, Any]:
        """The answer to make_join for a user."""
        event = self.make(MEMBER, {"membership": "join", **content}, sender=user_id, state_key=str(user_id))
        left_out = ("hashes", "signatures", "event_id")
        pdu = orjson.loads(encode_relaxed(event.pdu))
        template = {key: value for key, value in pdu.items() if key not in left_out}
        return {"room_version": self.version.identifier, "event": template}

    def read(self, pdu: dict[str, Any]) -> Event:
        """The event of a PDU of this room."""
        return read_pdu(pdu, self.version)

    def let_in(self, event: Event) -> dict[str, Any]:
        """The answer to send_join: the state before the join, which becomes part of the room."""
        state = list(self.state.values())
        answer = {
            "state": [each.pdu for each in state],
            "auth_chain": [each.pdu for each in self.auth_chain([*state, event])],
            "event": event.pdu,
        }
        self.joins.append(event)
        self.take(event)
        return answer

    def serve(self, peer: Peer) -> None:
        """Have the peer let others join."""

        async def make_join(asked: Asked) -> Any:
            return self.template(unquote(asked.path).rpartition("/")[2])

        async def send_join(asked: Asked) -> Any:
            return self.alter(self.let_in(self.read(asked.json)))

        async def send_join_v1(asked: Asked) -> Any:
            return web.json_response([200, self.alter(self.let_in(self.read(asked.json)))])

        peer.answers["GET", f"{FEDERATION}/v1/make_join/{self.room_id}/*"] = make_join
        peer.answers["PUT", f"{FEDERATION}/v2/send_join/{self.room_id}/*"] = send_join
        peer.answers["PUT", f"{FEDERATION}/v1/send_join/{self.room_id}/*"] = send_join_v1
