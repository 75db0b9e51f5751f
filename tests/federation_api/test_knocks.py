"""Knocks across servers: those of others on rooms of ours, and ours on rooms of others.

Spec: https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms
"""

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
    serve_knocking,
    serve_leaving,
    told_of,
)
from tests.peer import Asked, make_author
from tests.peer_room import FEDERATION, MEMBER, PeerRoom
from tests.people import Person
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.room_versions import room_version

BOB = "@bob:peer.example"
KNOCK: list[dict[str, Any]] = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture(autouse=True)
def forgetful_peer(neighbourhood: Neighbourhood) -> None:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()


async def open_door(person: Person, version: str = "11", **options: Any) -> str:
    """A room of ours that takes knocks."""
    return await person.create_room(
        preset="private_chat", room_version=version, name="Ward 3", **{"initial_state": KNOCK, **options}
    )


async def membership(person: Person, room_id: str, user_id: str = BOB) -> str | None:
    for event in await person.get(f"rooms/{room_id}/state"):
        if (event["type"], event["state_key"]) == (MEMBER, user_id):
            return str(event["content"]["membership"])
    return None


@pytest.mark.parametrize("version", ["7", "9", "11", "12"])
async def test_a_knock_of_another_server_is_taken_and_answered(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    peer, room_id = neighbourhood.peer, await open_door(alice, version)
    status, template = await make(peer, "a.example", "knock", room_id, BOB)
    assert (status, template["room_version"]) == (200, version)
    assert not {"signatures", "hashes", "event_id"} & template["event"].keys()
    event = event_on(template, peer.author, content={"membership": "knock", "reason": "let me in"})
    status, answer = await send(peer, "a.example", "knock", event)
    assert status == 200, answer
    told = {pdu["type"]: read_pdu(pdu, room_version(version)) for pdu in answer["knock_room_state"]}
    assert told["m.room.name"].content == {"name": "Ward 3"}
    assert told["m.room.create"].room_id == room_id
    assert await membership(alice, room_id) == "knock"
    assert (await send(peer, "a.example", "knock", event))[0] == 200  # sent again, as after a lost answer


async def test_a_knock_is_accepted_with_an_invite(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await open_door(alice)
    await send(
        peer, "a.example", "knock", event_on((await make(peer, "a.example", "knock", room_id, BOB))[1], peer.author)
    )
    serve_invites(peer)
    await alice.post(f"rooms/{room_id}/invite", {"user_id": BOB})
    assert await membership(alice, room_id) == "invite"


async def test_a_knock_is_taken_back(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await open_door(alice)
    await send(
        peer, "a.example", "knock", event_on((await make(peer, "a.example", "knock", room_id, BOB))[1], peer.author)
    )
    status, template = await make(peer, "a.example", "leave", room_id, BOB)
    assert status == 200, template
    assert await send(peer, "a.example", "leave", event_on(template, peer.author), api="v2") == (200, {})
    assert await membership(alice, room_id) == "leave"


async def test_who_may_not_knock_gets_no_template(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await open_door(alice)
    closed = await alice.create_room(preset="private_chat")
    banned = await open_door(alice)
    await alice.post(f"rooms/{banned}/ban", {"user_id": BOB})
    denied = await open_door(alice)
    await alice.set_state(denied, "m.room.server_acl", {"allow": ["*"], "deny": ["peer.example"]})
    for refused in (closed, banned, denied):
        status, answer = await make(peer, "a.example", "knock", refused, BOB)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    status, answer = await make(peer, "a.example", "knock", room_id, "@somebody:b.example")
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    status, answer = await make(peer, "a.example", "knock", "!nowhere:a.example", BOB)
    assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
    status, answer = await make(peer, "a.example", "knock", room_id, BOB, ver=["7"])
    assert (status, answer["errcode"], answer["room_version"]) == (400, "M_INCOMPATIBLE_ROOM_VERSION", "11")


async def test_what_is_no_knock_is_not_taken(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await open_door(alice)
    other = await open_door(alice)
    _, template = await make(peer, "a.example", "knock", room_id, BOB)
    stranger = make_author("peer.example", seed=99)
    unknown = ("$" + "x" * 43,)
    good = event_on(template, peer.author, content={"membership": "knock", "reason": "hashed"})
    changed = good.pdu | {"content": {"membership": "knock", "reason": "not hashed"}}
    for event, status, errcode in (
        (event_on(template, stranger), 403, "M_FORBIDDEN"),
        (event_on(template, peer.author, content={"membership": "join"}), 400, "M_INVALID_PARAM"),
        (event_on(template, peer.author, type="m.room.topic"), 400, "M_INVALID_PARAM"),
        (event_on(template, peer.author, state_key="@carol:peer.example"), 400, "M_INVALID_PARAM"),
        (event_on(template, peer.author, prev_events=unknown), 400, "M_INVALID_PARAM"),
        (event_on(template, peer.author, auth_events=unknown), 400, "M_INVALID_PARAM"),
        (event_on(template, peer.author, auth_events=()), 403, "M_FORBIDDEN"),
    ):
        got, answer = await send(peer, "a.example", "knock", event)
        assert (got, answer["errcode"]) == (status, errcode), event.pdu
    for pdu, room, event_id, expected in (
        (changed, room_id, good.event_id, (403, "M_FORBIDDEN")),
        (good.pdu, other, good.event_id, (400, "M_INVALID_PARAM")),
        (good.pdu, room_id, "$" + "y" * 43, (400, "M_INVALID_PARAM")),
        ({}, room_id, good.event_id, (400, "M_BAD_JSON")),
    ):
        path = f"{FEDERATION}/v1/send_knock/{quote(room, safe='')}/{quote(event_id, safe='')}"
        got, answer = await peer.ask("a.example", "PUT", path, pdu)
        assert (got, answer["errcode"]) == expected
    assert await membership(alice, room_id) is None


async def test_a_knock_that_the_room_no_longer_allows_is_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await open_door(alice)
    event = event_on((await make(peer, "a.example", "knock", room_id, BOB))[1], peer.author)
    await alice.post(f"rooms/{room_id}/ban", {"user_id": BOB})
    for _ in range(2):
        status, answer = await send(peer, "a.example", "knock", event)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert await membership(alice, room_id) == "ban"


def peer_room(neighbourhood: Neighbourhood, version: str = "11") -> PeerRoom:
    room = PeerRoom.create(neighbourhood.peer.author, version, join_rule="knock")
    room.add("m.room.name", {"name": "Ward 3"}, state_key="")
    return room


async def knock(person: Person, room: PeerRoom, *, via: str = "peer.example", **body: Any) -> tuple[int, Any]:
    return await person.request("POST", f"knock/{quote(room.room_id)}", body, via=via)


@pytest.mark.parametrize("version", ["7", "10", "12"])
async def test_knocking_on_a_room_of_another_server(neighbourhood: Neighbourhood, alice: Person, version: str) -> None:
    room = peer_room(neighbourhood, version)
    taken = serve_knocking(neighbourhood.peer, room)
    since = (await alice.get("sync"))["next_batch"]
    assert await knock(alice, room, reason="please") == (200, {"room_id": room.room_id})
    (event,) = taken
    assert (event.sender, event.state_key) == (alice.user_id, alice.user_id)
    assert event.content == {"membership": "knock", "reason": "please"}
    told = await section(alice, "knock", room.room_id, since=since, timeout=10_000)
    assert {each["type"] for each in told["knock_state"]["events"]} >= {"m.room.create", "m.room.name", MEMBER}
    assert (await invite_state(alice, room.room_id, "knock") or {})["m.room.name"] == {"name": "Ward 3"}
    assert await knock(alice, room) == (200, {"room_id": room.room_id})
    assert len(taken) == 1


async def test_what_does_not_verify_of_the_told_state_is_left_out(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = peer_room(neighbourhood, "12")
    serve_knocking(neighbourhood.peer, room)
    forged = {**room.state["m.room.name", ""].pdu, "sender": "@x:peer.example"}
    told = [*(pdu for pdu in told_of(room) if pdu["type"] != "m.room.name"), forged, 1, *([{}] * 100)]
    send_knock = f"{FEDERATION}/v1/send_knock/{room.room_id}/*"
    neighbourhood.peer.answers["PUT", send_knock] = {"knock_room_state": told}
    assert (await knock(alice, room))[0] == 200
    state = await invite_state(alice, room.room_id, "knock")
    assert state is not None
    assert "m.room.create" in state
    assert "m.room.name" not in state


async def test_several_servers_are_asked_in_turn(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = peer_room(neighbourhood)
    serve_knocking(neighbourhood.peer, room)
    path = f"knock/{quote(room.room_id)}?via=nowhere.invalid&via=b.example&server_name=peer.example"
    async with alice.session.post(
        f"/_matrix/client/v3/{path}", json={}, headers={"Authorization": f"Bearer {alice.token}"}
    ) as response:
        assert response.status == 200, await response.json()


async def _forbid(asked: Asked) -> Any:
    return web.json_response({"errcode": "M_FORBIDDEN", "error": "no"}, status=403)


async def test_a_refused_knock(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = peer_room(neighbourhood)
    serve_knocking(neighbourhood.peer, room)
    for method, path in (("GET", "make_knock"), ("PUT", "send_knock")):
        before = neighbourhood.peer.answers[method, f"{FEDERATION}/v1/{path}/{room.room_id}/*"]
        neighbourhood.peer.answers[method, f"{FEDERATION}/v1/{path}/{room.room_id}/*"] = _forbid
        status, answer = await knock(alice, room)
        assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
        neighbourhood.peer.answers[method, f"{FEDERATION}/v1/{path}/{room.room_id}/*"] = before
    for template in (
        membership_template(room, alice.user_id, "join"),
        membership_template(room, "@x:a.example", "knock"),
        membership_template(peer_room(neighbourhood), alice.user_id, "knock"),
    ):
        neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_knock/{room.room_id}/*"] = template
        assert (await knock(alice, room))[0] == 502
    assert await section(alice, "knock", room.room_id) is None


async def test_our_knock_is_accepted_refused_and_taken_back(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, peer = peer_room(neighbourhood), neighbourhood.peer
    serve_knocking(peer, room)
    leaves = serve_leaving(peer, room)
    await knock(alice, room)
    await alice.leave(room.room_id)
    assert len(leaves) == 1
    assert await section(alice, "knock", room.room_id) is None
    await knock(alice, room)
    refusal = room.member(alice.user_id, "leave")
    assert await send_pdus(peer, "a.example", refusal.pdu) == {refusal.event_id: {}}
    assert await section(alice, "knock", room.room_id) is None
    await knock(alice, room)
    status, _ = await send_invite(peer, "a.example", room, room.take(invite_of(room, alice.user_id)))
    assert status == 200
    assert await section(alice, "knock", room.room_id) is None
    assert await invite_state(alice, room.room_id) is not None
