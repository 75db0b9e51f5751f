"""Leaving rooms that this server is not in: declining invites, invites that are taken back, rooms that are broken.

Spec: https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
"""

from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.inviting import (
    event_on,
    invite_of,
    invite_state,
    make,
    membership_template,
    section,
    send,
    send_invite,
    send_pdus,
    serve_invites,
    serve_leaving,
)
from tests.peer import Asked, make_author
from tests.peer_room import FEDERATION, MEMBER, PeerRoom
from tests.people import PASSWORD, Person
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import verify_event_signature


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture(autouse=True)
def forgetful_peer(neighbourhood: Neighbourhood) -> None:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()


async def invited(neighbourhood: Neighbourhood, person: Person, version: str = "11") -> tuple[PeerRoom, Event]:
    """A room of the peer, and the invite of a person of hospital A."""
    room = PeerRoom.create(neighbourhood.peer.author, version, join_rule="invite")
    event = room.take(invite_of(room, person.user_id))
    status, answer = await send_invite(neighbourhood.peer, "a.example", room, event)
    assert status == 200, answer
    return room, event


async def membership_of(person: Person, room_id: str) -> str | None:
    """In which section of an initial sync the room is."""
    filter_ = '{"room":{"include_leave":true}}'
    rooms = (await person.get("sync", filter=filter_)).get("rooms", {})
    return next((name for name, of_section in rooms.items() if room_id in of_section), None)


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_declining_is_told_to_the_server_that_invited(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    room, invite = await invited(neighbourhood, alice, version)
    taken = serve_leaving(neighbourhood.peer, room)
    since = (await alice.get("sync"))["next_batch"]
    await alice.post(f"rooms/{quote(room.room_id)}/leave", {"reason": "no time"})
    (leave,) = taken
    assert (leave.sender, leave.state_key) == (alice.user_id, alice.user_id)
    assert leave.content == {"membership": "leave", "reason": "no time"}
    assert invite.event_id in leave.auth_events
    key = neighbourhood.a.process.homeservers[0].federation.client.author.key
    verify_event_signature(leave.pdu, room.version, "a.example", key.key_id, key.verify_key)
    told = await section(alice, "leave", room.room_id, since=since, timeout=0)
    assert [event["event_id"] for event in told["timeline"]["events"]] == [leave.event_id]
    assert await section(alice, "invite", room.room_id) is None
    assert await membership_of(alice, room.room_id) == "leave"


async def test_a_server_that_knows_only_the_older_endpoint_is_told_by_it(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room, _ = await invited(neighbourhood, alice)
    peer, taken = neighbourhood.peer, serve_leaving(neighbourhood.peer, room)
    newer = peer.answers.pop(("PUT", f"{FEDERATION}/v2/send_leave/{room.room_id}/*"))

    async def send_leave_v1(asked: Asked) -> Any:
        assert callable(newer)
        return web.json_response([200, await newer(asked)])

    peer.answers["PUT", f"{FEDERATION}/v1/send_leave/{room.room_id}/*"] = send_leave_v1
    await alice.leave(room.room_id)
    assert len(taken) == 1


async def _nothing(asked: Asked) -> Any:
    return web.Response(status=500, body=b"no JSON")


BROKEN: dict[str, Any] = {
    "does not know the room": None,
    "forbids it": web.json_response({"errcode": "M_FORBIDDEN", "error": "no"}, status=403),
    "answers with an error": _nothing,
    "answers with something else": {"event": []},
    "gives a template without a form": {"room_version": "11", "event": {"type": MEMBER}},
    "gives one of an unknown version": {"room_version": "next", "event": {}},
}


@pytest.mark.parametrize("answer", BROKEN.values(), ids=BROKEN.keys())
async def test_leaving_succeeds_whatever_the_other_server_does(
    neighbourhood: Neighbourhood, alice: Person, answer: Any
) -> None:
    room, _ = await invited(neighbourhood, alice)
    if answer is not None:
        neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_leave/{room.room_id}/*"] = answer
    since = (await alice.get("sync"))["next_batch"]
    await alice.leave(room.room_id)
    assert neighbourhood.peer.asked(f"{FEDERATION}/v1/make_leave")
    told = await section(alice, "leave", room.room_id, since=since, timeout=0)
    (event,) = told["timeline"]["events"]
    assert (event["sender"], event["content"]) == (alice.user_id, {"membership": "leave"})
    await alice.leave(room.room_id)  # once more changes nothing
    await alice.post(f"rooms/{quote(room.room_id)}/forget")
    assert await membership_of(alice, room.room_id) is None


@pytest.mark.parametrize("changes", [{"membership": "join"}, {"user": "other"}, {"room": "other"}, {"type": "other"}])
async def test_nothing_else_than_a_leave_of_the_room_is_signed(
    neighbourhood: Neighbourhood, alice: Person, changes: dict[str, str]
) -> None:
    room, _ = await invited(neighbourhood, alice)
    serve_leaving(neighbourhood.peer, room)
    template = membership_template(room, alice.user_id, changes.get("membership", "leave"))
    other = {"user": {"state_key": "@x:a.example"}, "room": {"room_id": "!x:peer.example"}, "type": {"type": "x"}}
    for key in changes:
        template["event"] |= other.get(key, {})
    neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_leave/{room.room_id}/*"] = template
    await alice.leave(room.room_id)
    assert await membership_of(alice, room.room_id) == "leave"
    assert not neighbourhood.peer.asked(f"{FEDERATION}/v2/send_leave")


async def test_an_invite_that_was_declined_does_not_come_back(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, invite = await invited(neighbourhood, alice)
    await alice.leave(room.room_id)
    status, _ = await send_invite(neighbourhood.peer, "a.example", room, invite)
    assert status == 200
    assert await section(alice, "invite", room.room_id) is None
    status, _ = await send_invite(neighbourhood.peer, "a.example", room, invite_of(room, alice.user_id, reason="again"))
    assert status == 200
    assert await invite_state(alice, room.room_id) is not None


async def test_declining_by_setting_ones_member_state(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = await invited(neighbourhood, alice)
    taken = serve_leaving(neighbourhood.peer, room)
    path = f"rooms/{quote(room.room_id)}/state/{MEMBER}/{alice.user_id}"
    answer = await alice.put(path, {"membership": "leave", "org.example.note": "x"})
    assert [event.event_id for event in taken] == [answer["event_id"]]
    assert taken[0].content == {"membership": "leave", "org.example.note": "x"}


async def test_who_is_deactivated_declines(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = await invited(neighbourhood, alice)
    taken = serve_leaving(neighbourhood.peer, room)
    auth = {
        "type": "m.login.password",
        "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": alice.user_id},
    }
    session = (await alice.expect(401, "POST", "account/deactivate", {}))["session"]
    await alice.post("account/deactivate", {"auth": {**auth, "session": session}})
    assert [event.state_key for event in taken] == [alice.user_id]


async def test_strangers_to_a_room_elsewhere_can_not_leave_it(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = await invited(neighbourhood, alice)
    bob = await neighbourhood.a.person()
    await bob.refused(403, "M_FORBIDDEN", "POST", f"rooms/{quote(room.room_id)}/leave")
    await bob.refused(404, "M_NOT_FOUND", "POST", "rooms/!nowhere:peer.example/leave")


@pytest.mark.parametrize("membership", ["leave", "ban"])
async def test_an_invite_is_taken_back(neighbourhood: Neighbourhood, alice: Person, membership: str) -> None:
    room, _ = await invited(neighbourhood, alice)
    since = (await alice.get("sync"))["next_batch"]
    event = room.member(alice.user_id, membership)
    assert await send_pdus(neighbourhood.peer, "a.example", event.pdu) == {event.event_id: {}}
    told = await section(alice, "leave", room.room_id, since=since, timeout=10_000)
    assert [each["event_id"] for each in told["timeline"]["events"]] == [event.event_id]
    assert await section(alice, "invite", room.room_id) is None


async def test_what_does_not_take_an_invite_back_changes_nothing(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, invite = await invited(neighbourhood, alice)
    bob, peer = await neighbourhood.a.person(), neighbourhood.peer
    elsewhere, _ = await invited(neighbourhood, bob)
    stranger = make_author("peer.example", seed=99)
    leave: dict[str, Any] = {"content": {"membership": "leave"}, "state_key": alice.user_id}
    for event in (
        room.make(MEMBER, **leave, auth_events=tuple(e for e in invite.auth_events)),
        room.make(MEMBER, **leave, author=stranger),
        room.make(MEMBER, {"membership": "leave"}, state_key=bob.user_id),
        room.make(MEMBER, {"membership": "join"}, state_key=alice.user_id),
        room.make("m.room.message", {"membership": "leave"}, state_key=alice.user_id),
        room.make(MEMBER, **leave, sender=alice.user_id, author=stranger),
        elsewhere.make(MEMBER, **leave),
    ):
        outcomes = await send_pdus(peer, "a.example", event.pdu)
        assert outcomes[event.event_id].get("error"), event.pdu
    for broken in (1, [], {"type": MEMBER}, {"type": MEMBER, "state_key": "x", "content": []}):
        pdu = {"room_id": room.room_id, **broken} if isinstance(broken, dict) else broken
        await send_pdus(peer, "a.example", pdu)
    assert await section(alice, "invite", room.room_id) is not None
    assert await section(bob, "invite", elsewhere.room_id) is not None


@pytest.fixture
async def broken_room(neighbourhood: Neighbourhood, alice: Person) -> AsyncIterator[str]:
    """A room of this server that alice has joined, for a test to damage."""
    room_id = await alice.create_room()
    yield room_id


DAMAGES = {
    "the create event is gone": "DELETE FROM current_state WHERE type = 'm.room.create'",
    "the user's join is gone": "DELETE FROM current_state WHERE type = 'm.room.member'",
    "the event of the power levels is gone": "UPDATE current_state SET event_nid = -1 WHERE type LIKE '%power_levels'",
    "the create event can't be read": r"UPDATE events SET body = '\x00ff' WHERE type = 'm.room.create'",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
async def test_a_broken_room_can_be_left(
    neighbourhood: Neighbourhood, alice: Person, broken_room: str, damage: str
) -> None:
    since = (await alice.get("sync"))["next_batch"]
    homeserver = neighbourhood.a.process.homeservers[0]
    async with homeserver.store.database.transaction() as tx:
        nid = await tx.fetchval("SELECT nid FROM rooms WHERE room_id = $1", broken_room)
        await tx.execute(f"{damage} AND room_nid = $1", nid)
    homeserver.homeserver.room_leave.queues.heads.forget(broken_room)
    homeserver.homeserver.room_leave.queues.parsed.clear()
    await alice.leave(broken_room)
    answer = await alice.get("sync", since=since, timeout=0)
    assert broken_room in answer["rooms"]["leave"]
    assert (await alice.get("joined_rooms"))["joined_rooms"] == []
    await alice.post(f"rooms/{broken_room}/forget")


BOB = "@bob:peer.example"


async def with_invited_bob(neighbourhood: Neighbourhood, alice: Person, version: str = "11") -> str:
    """A room of ours to which a user of the peer is invited."""
    serve_invites(neighbourhood.peer)
    return await alice.create_room(room_version=version, preset="private_chat", invite=[BOB])


async def membership_in(person: Person, room_id: str, user_id: str) -> Any:
    state = await person.get(f"rooms/{room_id}/state")
    return next(e["content"]["membership"] for e in state if (e["type"], e["state_key"]) == (MEMBER, user_id))


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
@pytest.mark.parametrize(("api", "expected"), [("v1", [200, {}]), ("v2", {})])
async def test_a_user_of_another_server_declines(
    neighbourhood: Neighbourhood, alice: Person, version: str, api: str, expected: Any
) -> None:
    peer, room_id = neighbourhood.peer, await with_invited_bob(neighbourhood, alice, version)
    status, template = await make(peer, "a.example", "leave", room_id, BOB)
    assert (status, template["room_version"]) == (200, version)
    event = event_on(template, peer.author, content={"membership": "leave", "reason": "no"})
    assert await send(peer, "a.example", "leave", event, api=api) == (200, expected)
    assert await membership_in(alice, room_id, BOB) == "leave"
    assert await send(peer, "a.example", "leave", event, api=api) == (200, expected)


async def test_nobody_leaves_for_another_or_where_they_are_not(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await with_invited_bob(neighbourhood, alice)
    assert (await make(peer, "a.example", "leave", room_id, "@carol:peer.example"))[0] == 403
    assert (await make(peer, "a.example", "leave", room_id, alice.user_id))[0] == 403
    assert (await make(peer, "a.example", "leave", "!nowhere:a.example", BOB))[0] == 404
    _, template = await make(peer, "a.example", "leave", room_id, BOB)
    kick = event_on(template, peer.author, state_key=alice.user_id)
    join = event_on(template, peer.author, content={"membership": "join"})
    for event in (kick, join):
        status, answer = await send(peer, "a.example", "leave", event, api="v2")
        assert (status, answer["errcode"]) == (400, "M_INVALID_PARAM")
    assert await membership_in(alice, room_id, BOB) == "invite"
