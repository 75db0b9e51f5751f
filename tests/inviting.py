"""Short ways for tests of invites, knocks and leaves between servers."""

import secrets
from typing import Any
from urllib.parse import quote

from tests.peer import Asked, Peer
from tests.peer_room import FEDERATION, MEMBER, PeerRoom
from tests.people import Person
from tim_server.matrix.events.build import Author, NewPdu, build_event
from tim_server.matrix.events.read import referenced_ids
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import sign_event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS, EventFormat, room_version

STRIPPED = ("m.room.create", "m.room.join_rules", "m.room.name")


def invite_of(room: PeerRoom, user_id: str, **content: Any) -> Event:
    """An invite by the room's creator, which does not become part of the room."""
    return room.make(MEMBER, {"membership": "invite", **content}, state_key=user_id)


def told_of(room: PeerRoom) -> list[dict[str, Any]]:
    """`invite_room_state` of whole events."""
    return [room.state[event_type, ""].pdu for event_type in STRIPPED if (event_type, "") in room.state]


async def send_invite(peer: Peer, server: str, room: PeerRoom, event: Event, /, **body: Any) -> tuple[int, Any]:
    """Status and JSON of an invite; `body` replaces what it says."""
    path = f"{FEDERATION}/v2/invite/{quote(room.room_id, safe='')}/{quote(event.event_id, safe='')}"
    whole = {"room_version": room.version.identifier, "event": event.pdu, "invite_room_state": told_of(room), **body}
    return await peer.ask(server, "PUT", path, whole)


async def section(person: Person, name: str, room_id: str, **query: Any) -> Any:
    """What a sync tells of a room in one of its sections; None where it is not there."""
    answer = await person.get("sync", **query)
    return answer.get("rooms", {}).get(name, {}).get(room_id)


async def invite_state(person: Person, room_id: str, name: str = "invite") -> dict[str, Any] | None:
    """The contents of the stripped state of a room by type, the user's own member event included."""
    told = await section(person, name, room_id)
    if told is None:
        return None
    return {
        event["type"] if event["type"] != MEMBER else f"member {event['state_key']}": event["content"]
        for event in told[f"{name}_state"]["events"]
    }


def membership_template(room: PeerRoom, user_id: str, membership: str) -> dict[str, Any]:
    """The answer to make_leave or make_knock for a user."""
    event = room.make(MEMBER, {"membership": membership}, sender=user_id, state_key=user_id)
    left_out = ("hashes", "signatures", "event_id")
    template = {key: value for key, value in event.pdu.items() if key not in left_out}
    return {"room_version": room.version.identifier, "event": template}


def serve_leaving(peer: Peer, room: PeerRoom) -> list[Event]:
    """Have the peer let users leave the room; the leave events that came."""
    taken: list[Event] = []

    async def make_leave(asked: Asked) -> Any:
        return membership_template(room, asked.path.rpartition("/")[2], "leave")

    async def send_leave(asked: Asked) -> Any:
        taken.append(room.take(room.read(asked.json)))
        return {}

    peer.answers["GET", f"{FEDERATION}/v1/make_leave/{room.room_id}/*"] = make_leave
    peer.answers["PUT", f"{FEDERATION}/v2/send_leave/{room.room_id}/*"] = send_leave
    return taken


async def send_pdus(peer: Peer, server: str, *pdus: Any) -> Any:
    """The outcomes of a transaction with these PDUs, by event id."""
    body = {"origin": peer.name, "origin_server_ts": 1, "pdus": list(pdus)}
    status, answer = await peer.ask(server, "PUT", f"{FEDERATION}/v1/send/{secrets.token_hex(8)}", body)
    assert status == 200, answer
    return answer["pdus"]


def serve_invites(peer: Peer, **answer: Any) -> list[Asked]:
    """Have the peer sign every invite that comes; `answer` goes into the answer. The requests."""
    asked_for: list[Asked] = []

    async def sign(asked: Asked) -> Any:
        asked_for.append(asked)
        version = room_version(asked.json["room_version"])
        return {"event": sign_event(asked.json["event"], version, peer.name, peer.author.key)} | answer

    peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = sign
    return asked_for


def event_on(template: dict[str, Any], author: Author, **changes: Any) -> Event:
    """A signed event on a template as a server in the room gave it; `changes` replace what it says."""
    version = room_version(template["room_version"])
    said = template["event"]
    new: dict[str, Any] = {
        "room_id": RoomId(said["room_id"]),
        "type": said["type"],
        "state_key": said["state_key"],
        "sender": UserId(said["sender"]),
        "content": said["content"],
        "prev_events": referenced_ids(said["prev_events"], version),
        "auth_events": referenced_ids(said["auth_events"], version),
        "depth": said["depth"],
        "origin_server_ts": said["origin_server_ts"],
    }
    if version.event_format is EventFormat.SENDER_ASSIGNED_ID:
        new["event_id"] = EventId(f"${secrets.token_hex(8)}:{author.server_name}")
    return build_event(NewPdu(**(new | changes)), version, author)[0]


async def make(peer: Peer, server: str, verb: str, room_id: str, user_id: str, **query: Any) -> tuple[int, Any]:
    """Status and template of make_knock or make_leave."""
    versions = "&".join(f"ver={version}" for version in query.get("ver", ROOM_VERSIONS))
    path = f"{FEDERATION}/v1/make_{verb}/{quote(room_id, safe='')}/{quote(user_id, safe='')}?{versions}"
    return await peer.ask(server, "GET", path)


async def send(peer: Peer, server: str, verb: str, event: Event, *, api: str = "v1") -> tuple[int, Any]:
    """Status and answer of send_knock or send_leave."""
    path = f"{FEDERATION}/{api}/send_{verb}/{quote(event.room_id, safe='')}/{quote(event.event_id, safe='')}"
    return await peer.ask(server, "PUT", path, event.pdu)


def serve_knocking(peer: Peer, room: PeerRoom) -> list[Event]:
    """Have the peer take knocks on the room; the knocks that came."""
    taken: list[Event] = []

    async def make_knock(asked: Asked) -> Any:
        return membership_template(room, asked.path.rpartition("/")[2], "knock")

    async def send_knock(asked: Asked) -> Any:
        taken.append(room.take(room.read(asked.json)))
        return {"knock_room_state": told_of(room)}

    peer.answers["GET", f"{FEDERATION}/v1/make_knock/{room.room_id}/*"] = make_knock
    peer.answers["PUT", f"{FEDERATION}/v1/send_knock/{room.room_id}/*"] = send_knock
    return taken
