"""Invites of people by an address that an identity server later binds to a user. The tests play the identity server.

Spec: https://spec.matrix.org/v1.19/server-server-api/#third-party-invites
"""

import secrets
from typing import Any
from urllib.parse import quote

import nacl.signing
import pytest

from tests.conftest import Neighbourhood
from tests.inviting import invite_state, serve_invites
from tests.peer_room import FEDERATION, MEMBER
from tests.people import Person
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, sign_json

IDENTITY_SERVER = "id.example"
KEY = SigningKey(key_id="ed25519:0", key=nacl.signing.SigningKey(bytes([3]) * 32))
CAROL = "@carol:peer.example"


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture
async def bob(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.b.person()


@pytest.fixture(autouse=True)
def forgetful_peer(neighbourhood: Neighbourhood) -> None:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()


async def invite_address(person: Person, room_id: str) -> str:
    """Invite an address into a room, as a client does with the help of the identity server; the token."""
    token, key = secrets.token_hex(8), unpadded_base64(KEY.verify_key)
    content = {"display_name": "b...@h...", "public_key": key, "public_keys": [{"public_key": key}]}
    await person.set_state(room_id, "m.room.third_party_invite", content, token)
    return token


def signed(user_id: str, token: str, key: SigningKey = KEY) -> dict[str, Any]:
    """What the identity server signs once the address is a user's."""
    return sign_json({"mxid": user_id, "token": token}, IDENTITY_SERVER, key)


async def bind(person: Person, *invites: dict[str, Any], user_id: str | None = None) -> int:
    """The status of the identity server's notice to a person's homeserver."""
    mxid = user_id or person.user_id
    notice = {"medium": "email", "address": "bob@hospital.example", "mxid": mxid, "invites": list(invites)}
    async with person.session.put(f"{FEDERATION}/v1/3pid/onbind", json=notice) as response:
        return response.status


def pending(room_id: str, sender: str, user_id: str, token: str, **more: Any) -> dict[str, Any]:
    """An invite in the notice."""
    about = {"medium": "email", "address": "bob@hospital.example", "mxid": user_id, "room_id": room_id}
    return {**about, "sender": sender, "signed": signed(user_id, token), **more}


async def member(person: Person, room_id: str, user_id: str) -> dict[str, Any] | None:
    for event in await person.get(f"rooms/{room_id}/state"):
        if (event["type"], event["state_key"]) == (MEMBER, user_id):
            return dict(event["content"])
    return None


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_who_turns_out_to_have_the_address_is_invited(
    neighbourhood: Neighbourhood, alice: Person, bob: Person, version: str
) -> None:
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", room_version=version)
    token = await invite_address(alice, room_id)
    assert await bind(bob, pending(room_id, alice.user_id, bob.user_id, token)) == 200
    content = await member(alice, room_id, bob.user_id)
    assert content is not None
    assert content["membership"] == "invite"
    assert content["third_party_invite"]["display_name"] == "b...@h..."
    assert content["third_party_invite"]["signed"] == signed(bob.user_id, token)
    assert (await invite_state(bob, room_id) or {})["m.room.name"] == {"name": "Ward 3"}
    await bob.join(room_id)


async def test_in_a_room_of_the_users_own_server(neighbourhood: Neighbourhood, alice: Person) -> None:
    dave = await neighbourhood.a.person()
    room_id = await alice.create_room(preset="private_chat")
    token = await invite_address(alice, room_id)
    assert await bind(dave, pending(room_id, alice.user_id, dave.user_id, token)) == 200
    await dave.join(room_id)
    assert await bind(dave, pending(room_id, alice.user_id, dave.user_id, token)) == 200
    assert (await member(alice, room_id, dave.user_id) or {})["membership"] == "join"


async def test_one_bad_invite_does_not_stop_the_others(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room(preset="private_chat")
    token = await invite_address(alice, room_id)
    good = pending(room_id, alice.user_id, bob.user_id, token)
    bad = [
        {**good, "room_id": "!nowhere:a.example"},
        {**good, "sender": "@nobody:nowhere.invalid"},
        {**good, "mxid": alice.user_id},
        {**good, "signed": {}},
        {**good, "signed": {**good["signed"], "filler": "x" * 10_000}},
        {**good, "sender": bob.user_id},
    ]
    assert await bind(bob, *bad, good) == 200
    assert (await member(alice, room_id, bob.user_id) or {})["membership"] == "invite"


async def test_too_many_invites_and_unknown_users(neighbourhood: Neighbourhood, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(preset="private_chat")
    token = await invite_address(alice, room_id)
    invite = pending(room_id, alice.user_id, bob.user_id, token)
    assert await bind(bob, *([invite] * 21)) == 400
    assert await bind(bob, invite, user_id="@nobody-here:b.example") == 200
    assert await bind(bob, invite, user_id="@bob:peer.example") == 200
    await bob.put(f"user/{bob.user_id}/account_data/m.invite_permission_config", {"default_action": "block"})
    assert await bind(bob, invite) == 200
    assert await member(alice, room_id, bob.user_id) is None


async def exchange(
    neighbourhood: Neighbourhood, room_id: str, sender: str, invite: dict[str, Any], /, **more: Any
) -> tuple[int, Any]:
    content = {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": invite}}
    event = {"type": MEMBER, "room_id": room_id, "sender": sender, "state_key": CAROL, "content": content, **more}
    path = f"{FEDERATION}/v1/exchange_third_party_invite/{quote(room_id, safe='')}"
    return await neighbourhood.peer.ask("a.example", "PUT", path, event)


async def test_another_server_exchanges_the_invite_of_its_user(neighbourhood: Neighbourhood, alice: Person) -> None:
    asked, room_id = serve_invites(neighbourhood.peer), await alice.create_room(preset="private_chat")
    token = await invite_address(alice, room_id)
    for _ in range(2):
        assert await exchange(neighbourhood, room_id, alice.user_id, signed(CAROL, token)) == (200, {})
    (request,) = asked
    assert request.json["event"]["sender"] == alice.user_id
    assert (await member(alice, room_id, CAROL) or {})["membership"] == "invite"


async def test_what_nobody_has_vouched_for_is_not_exchanged(neighbourhood: Neighbourhood, alice: Person) -> None:
    asked, dave = serve_invites(neighbourhood.peer), await neighbourhood.a.person()
    room_id = await alice.create_room(preset="private_chat")
    token = await invite_address(alice, room_id)
    other_key = SigningKey(key_id="ed25519:0", key=nacl.signing.SigningKey(bytes([4]) * 32))
    good = signed(CAROL, token)
    for invite, sender, more, status in (
        (signed(CAROL, token, other_key), alice.user_id, {}, 403),
        (signed(CAROL, "unknown"), alice.user_id, {}, 404),
        (signed("@other:peer.example", token), alice.user_id, {}, 400),
        ({**good, "token": 1}, alice.user_id, {}, 400),
        ({}, alice.user_id, {}, 400),
        (good, dave.user_id, {}, 403),
        (good, "@x:b.example", {}, 403),
        (good, alice.user_id, {"state_key": "@x:b.example"}, 403),
        (good, alice.user_id, {"type": "m.room.topic"}, 400),
        (good, alice.user_id, {"room_id": "!other:a.example"}, 400),
        (good, alice.user_id, {"content": {"membership": "join"}}, 400),
    ):
        got, answer = await exchange(neighbourhood, room_id, sender, invite, **more)
        assert got == status, answer
    assert (await exchange(neighbourhood, "!nowhere:a.example", alice.user_id, good))[0] == 404
    await alice.post(f"rooms/{room_id}/ban", {"user_id": CAROL})
    assert (await exchange(neighbourhood, room_id, alice.user_id, good))[0] == 403
    assert not asked


async def test_whoever_has_the_address_joins_with_what_was_signed(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    dave = await neighbourhood.a.person()
    room_id = await alice.create_room(preset="private_chat")
    for person in (dave, bob):
        token = await invite_address(alice, room_id)
        proof = sign_json({"mxid": person.user_id, "token": token, "sender": alice.user_id}, IDENTITY_SERVER, KEY)
        forged = {**proof, "token": "unknown"}
        path = f"join/{quote(room_id)}"
        await person.refused(403, "M_FORBIDDEN", "POST", path, {"third_party_signed": forged}, via="a.example")
        await person.post(path, {"third_party_signed": proof}, via="a.example")
