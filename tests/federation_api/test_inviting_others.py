"""Inviting users of other servers: only with their server's signature, and only what was agreed on.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.inviting import serve_invites
from tests.peer import Asked, make_author
from tests.peer_room import FEDERATION, MEMBER
from tests.people import Person
from tim_server.matrix.events.read import read_pdu
from tim_server.matrix.events.signatures import sign_event
from tim_server.matrix.room_versions import room_version

BOB = "@bob:peer.example"
CAROL = "@carol:peer.example"


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture(autouse=True)
def forgetful_peer(neighbourhood: Neighbourhood) -> None:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()


async def invite(person: Person, room_id: str, user_id: str = BOB, **more: Any) -> tuple[int, Any]:
    return await person.request("POST", f"rooms/{room_id}/invite", {"user_id": user_id, **more})


async def membership(person: Person, room_id: str, user_id: str = BOB) -> str | None:
    for event in await person.get(f"rooms/{room_id}/state"):
        if (event["type"], event["state_key"]) == (MEMBER, user_id):
            return str(event["content"]["membership"])
    return None


@pytest.mark.parametrize("version", ["1", "6", "10", "11", "12"])
async def test_the_other_server_gets_the_event_and_what_the_room_is(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    asked = serve_invites(neighbourhood.peer)
    room_id = await alice.create_room(room_version=version, name="Ward 3", preset="private_chat")
    assert await invite(alice, room_id, reason="please") == (200, {})
    (request,) = asked
    body, rules = request.json, room_version(version)
    event = read_pdu(body["event"], rules)
    assert request.path == f"{FEDERATION}/v2/invite/{room_id}/{event.event_id}"
    assert (event.sender, event.state_key, event.room_id) == (alice.user_id, BOB, room_id)
    assert event.content == {"membership": "invite", "reason": "please"}
    told = {pdu["type"]: read_pdu(pdu, rules) for pdu in body["invite_room_state"]}
    assert told["m.room.name"].content == {"name": "Ward 3"}
    assert told["m.room.create"].room_id == room_id
    assert told[MEMBER].state_key == alice.user_id
    assert await membership(alice, room_id) == "invite"


async def test_the_event_that_is_committed_bears_both_signatures(neighbourhood: Neighbourhood, alice: Person) -> None:
    asked = serve_invites(neighbourhood.peer)
    room_id = await alice.create_room()
    await invite(alice, room_id)
    event = read_pdu(asked[0].json["event"], room_version(asked[0].json["room_version"]))
    store = neighbourhood.a.process.homeservers[0].store
    async with store.database.connection() as connection:
        body = await connection.fetchval("SELECT body FROM events WHERE event_id = $1", event.event_id)
    assert b'"peer.example":{"ed25519:peer"' in store.codec.decode(body)


async def test_a_user_who_is_invited_already_is_not_invited_again(neighbourhood: Neighbourhood, alice: Person) -> None:
    asked = serve_invites(neighbourhood.peer)
    room_id = await alice.create_room()
    assert (await invite(alice, room_id), await invite(alice, room_id)) == ((200, {}), (200, {}))
    assert len(asked) == 1


async def test_the_rules_of_the_room_are_asked_before_the_other_server(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    asked, dave = serve_invites(neighbourhood.peer), await neighbourhood.a.person()
    room_id = await alice.create_room(preset="private_chat")
    status, answer = await invite(dave, room_id)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    await alice.post(f"rooms/{room_id}/ban", {"user_id": BOB})
    status, answer = await invite(alice, room_id)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert (await invite(alice, "!nowhere:a.example"))[0] == 404
    assert not asked


def refusal(status: int, errcode: str) -> Any:
    async def refuse(asked: Asked) -> web.Response:
        return web.json_response({"errcode": errcode, "error": "no"}, status=status)

    return refuse


@pytest.mark.parametrize(
    ("status", "errcode", "told"),
    [
        (403, "M_FORBIDDEN", (403, "M_FORBIDDEN")),
        (403, "M_INVITE_BLOCKED", (403, "M_INVITE_BLOCKED")),
        (400, "M_INCOMPATIBLE_ROOM_VERSION", (400, "M_UNSUPPORTED_ROOM_VERSION")),
        (400, "M_INVALID_PARAM", (502, "M_UNKNOWN")),
        (400, "M_MISSING_PARAM", (502, "M_UNKNOWN")),
        (404, "M_NOT_FOUND", (404, "M_NOT_FOUND")),
        (429, "M_LIMIT_EXCEEDED", (429, "M_LIMIT_EXCEEDED")),
        (500, "M_UNKNOWN", (502, "M_UNKNOWN")),
    ],
)
async def test_what_the_other_server_says_against_it_is_told(
    neighbourhood: Neighbourhood, alice: Person, status: int, errcode: str, told: tuple[int, str]
) -> None:
    neighbourhood.peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = refusal(status, errcode)
    room_id = await alice.create_room()
    got, answer = await invite(alice, room_id)
    assert (got, answer["errcode"]) == told
    assert await membership(alice, room_id) is None


async def test_a_server_that_can_not_be_reached(neighbourhood: Neighbourhood, alice: Person) -> None:
    room_id = await alice.create_room()
    status, answer = await invite(alice, room_id, "@bob:nowhere.invalid")
    assert (status, answer["errcode"]) == (502, "M_UNKNOWN")
    assert await membership(alice, room_id, "@bob:nowhere.invalid") is None


async def test_a_server_that_knows_only_the_older_endpoint(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer = neighbourhood.peer

    async def sign_v1(asked: Asked) -> Any:
        assert asked.json["unsigned"]["invite_room_state"]
        return web.json_response(
            [200, {"event": sign_event(asked.json, room_version("1"), peer.name, peer.author.key)}]
        )

    peer.answers["PUT", f"{FEDERATION}/v1/invite/*"] = sign_v1
    old, new = await alice.create_room(room_version="1"), await alice.create_room(room_version="11")
    assert await invite(alice, old) == (200, {})
    assert (await invite(alice, new))[0] == 404


@pytest.mark.parametrize("answer", ["unsigned", "wrong key", "no event", "changed"])
async def test_only_the_signature_is_taken_from_the_answer(
    neighbourhood: Neighbourhood, alice: Person, answer: str
) -> None:
    peer = neighbourhood.peer

    async def sign(asked: Asked) -> Any:
        event, version = asked.json["event"], room_version(asked.json["room_version"])
        if answer == "unsigned":
            return {"event": event}
        if answer == "wrong key":
            return {"event": sign_event(event, version, peer.name, make_author("peer.example", 99).key)}
        if answer == "no event":
            return {"event": []}
        changed = {**event, "content": {"membership": "join"}}
        return {
            "event": {**changed, "signatures": sign_event(event, version, peer.name, peer.author.key)["signatures"]}
        }

    peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = sign
    room_id = await alice.create_room()
    status, _ = await invite(alice, room_id)
    assert status == (200 if answer == "changed" else 502)
    assert await membership(alice, room_id) == ("invite" if answer == "changed" else None)


async def test_the_room_may_change_while_the_other_server_signs(neighbourhood: Neighbourhood, alice: Person) -> None:
    peer, room_id = neighbourhood.peer, await alice.create_room()
    serve_invites(peer)
    sign = peer.answers["PUT", f"{FEDERATION}/v2/invite/*"]

    async def slowly(asked: Asked) -> Any:
        assert callable(sign)
        for _ in range(3):
            await alice.say(room_id, "meanwhile")
        await alice.set_state(room_id, "m.room.topic", {"topic": "another"})
        return await sign(asked)

    peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = slowly
    assert await invite(alice, room_id) == (200, {})
    assert await membership(alice, room_id) == "invite"
    assert (await alice.state(room_id, "m.room.topic"))["topic"] == "another"
    await alice.say(room_id, "after")
    assert len(await alice.bodies(room_id)) == 4


async def test_who_is_banned_while_the_other_server_signs_is_not_invited(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    peer, room_id = neighbourhood.peer, await alice.create_room()
    serve_invites(peer)
    sign = peer.answers["PUT", f"{FEDERATION}/v2/invite/*"]

    async def slowly(asked: Asked) -> Any:
        assert callable(sign)
        await alice.post(f"rooms/{room_id}/ban", {"user_id": BOB})
        return await sign(asked)

    peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = slowly
    status, answer = await invite(alice, room_id)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    assert await membership(alice, room_id) == "ban"


async def test_two_at_once_and_messages_go_on(neighbourhood: Neighbourhood, alice: Person) -> None:
    serve_invites(neighbourhood.peer)
    room_id = await alice.create_room()
    answers = await asyncio.gather(
        invite(alice, room_id), invite(alice, room_id, CAROL), *(alice.say(room_id, str(i)) for i in range(5))
    )
    assert answers[:2] == [(200, {}), (200, {})]
    assert [await membership(alice, room_id, user) for user in (BOB, CAROL)] == ["invite", "invite"]


async def test_inviting_by_setting_the_member_state(neighbourhood: Neighbourhood, alice: Person) -> None:
    asked, room_id = serve_invites(neighbourhood.peer), await alice.create_room()
    answer = await alice.put(f"rooms/{room_id}/state/{MEMBER}/{BOB}", {"membership": "invite", "org.example.note": "x"})
    assert asked[0].path.endswith(answer["event_id"])
    assert asked[0].json["event"]["content"]["org.example.note"] == "x"


@pytest.mark.parametrize("version", ["1", "10", "12"])
async def test_inviting_with_a_new_room(neighbourhood: Neighbourhood, alice: Person, version: str) -> None:
    asked, dave = serve_invites(neighbourhood.peer), await neighbourhood.a.person()
    room_id = await alice.create_room(
        room_version=version, name="new", invite=[BOB, dave.user_id, CAROL], is_direct=True, preset="private_chat"
    )
    assert {request.json["event"]["state_key"] for request in asked} == {BOB, CAROL}
    for request in asked:
        assert request.json["event"]["content"]["is_direct"] is True
        told = {pdu["type"] for pdu in request.json["invite_room_state"]}
        assert {"m.room.create", "m.room.name", MEMBER} <= told
    for user_id in (BOB, CAROL, dave.user_id):
        assert await membership(alice, room_id, user_id) == "invite"


async def test_a_refused_invite_leaves_no_new_room(neighbourhood: Neighbourhood, alice: Person) -> None:
    neighbourhood.peer.answers["PUT", f"{FEDERATION}/v2/invite/*"] = refusal(403, "M_FORBIDDEN")
    await alice.refused(403, "M_FORBIDDEN", "POST", "createRoom", {"invite": [BOB]})
    state = {"type": MEMBER, "state_key": BOB, "content": {"membership": "invite"}}
    await alice.refused(403, "M_FORBIDDEN", "POST", "createRoom", {"initial_state": [state]})
    await alice.refused(502, "M_UNKNOWN", "POST", "createRoom", {"invite": ["@bob:nowhere.invalid"]})
    assert (await alice.get("joined_rooms"))["joined_rooms"] == []


@pytest.mark.parametrize("version", ["1", "11", "12"])
async def test_nobody_of_another_server_is_invited_into_a_room_that_does_not_federate(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    """Such a user could not join; and their server would be told of the room."""
    asked, dave = serve_invites(neighbourhood.peer), await neighbourhood.a.person()
    lonely = {"room_version": version, "creation_content": {"m.federate": False}}
    room_id = await alice.create_room(**lonely, invite=[dave.user_id])
    status, answer = await invite(alice, room_id)
    assert (status, answer["errcode"]) == (403, "M_FORBIDDEN")
    await alice.refused(400, "M_INVALID_ROOM_STATE", "POST", "createRoom", {**lonely, "invite": [BOB]})
    assert asked == []
