"""Inviting people by their address, with an identity server that the operator allows.

Spec: https://spec.matrix.org/v1.19/client-server-api/#third-party-invites
"""

from typing import Any

import pytest

from tests.identity_server import IDENTITY
from tests.identity_site import ADDRESS, THIRD_PARTY, IdentitySite, invite_of, state
from tests.inviting import invite_state
from tests.peer_room import MEMBER
from tests.people import Person

ROOM_VERSIONS = ["2", "11", "12"]


@pytest.fixture
async def alice(site: IdentitySite) -> Person:
    return await site.a.person()


@pytest.fixture
async def bob(site: IdentitySite) -> Person:
    return await site.b.person()


async def membership(person: Person, room_id: str, user_id: str) -> str | None:
    return (await state(person, room_id, MEMBER)).get(user_id, {}).get("membership")


async def test_who_has_the_address_is_invited_as_the_user_that_they_are(
    site: IdentitySite, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room(preset="private_chat")
    site.identity.bound["email", ADDRESS] = bob.user_id
    await alice.post(f"rooms/{room_id}/invite", invite_of())
    assert await membership(alice, room_id, bob.user_id) == "invite"
    assert await state(alice, room_id, THIRD_PARTY) == {}
    assert not site.identity.stored
    await bob.join(room_id)


async def test_the_address_is_looked_up_in_its_canonical_form_and_never_sent_as_it_is(
    site: IdentitySite, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room(preset="private_chat")
    site.identity.bound["email", ADDRESS] = bob.user_id
    await alice.post(f"rooms/{room_id}/invite", invite_of("Bob.Patient@Hospital.EXAMPLE"))
    assert await membership(alice, room_id, bob.user_id) == "invite"
    sent = b"".join(asked.body + asked.path.encode() for asked in site.identity.peer.requests)
    assert b"patient" not in sent.lower()


async def test_a_telephone_number_that_somebody_has(site: IdentitySite, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(preset="private_chat")
    site.identity.bound["msisdn", "491701234567"] = bob.user_id
    await alice.post(f"rooms/{room_id}/invite", invite_of("491701234567", medium="msisdn"))
    assert await membership(alice, room_id, bob.user_id) == "invite"
    unknown = invite_of("491709999999", medium="msisdn")
    await alice.refused(403, "M_THREEPID_DENIED", "POST", f"rooms/{room_id}/invite", unknown)


async def test_an_address_that_nobody_has_yet(site: IdentitySite, alice: Person) -> None:
    await alice.put(f"profile/{alice.user_id}/displayname", {"displayname": "Dr Alice"})
    room_id = await alice.create_room(preset="private_chat", name="Ward 3")
    await alice.post(f"rooms/{room_id}/invite", invite_of())
    (stored,) = site.identity.stored
    assert stored == {
        "medium": "email",
        "address": ADDRESS,
        "room_id": room_id,
        "sender": alice.user_id,
        "room_name": "Ward 3",
        "room_join_rules": "invite",
        "sender_display_name": "Dr Alice",
        "token": stored["token"],
    }
    invites = await state(alice, room_id, THIRD_PARTY)
    content = invites[stored["token"]]
    validity_url = f"https://id.example{IDENTITY}/pubkey/isvalid"
    assert (content["display_name"], content["public_key"]) == ("b...@h...", site.identity.public_key)
    assert content["key_validity_url"] == validity_url
    assert content["public_keys"][0] == {"public_key": site.identity.public_key, "key_validity_url": validity_url}
    assert len(content["public_keys"]) == 2


async def test_the_pepper_may_change_meanwhile_but_not_for_ever(site: IdentitySite, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(preset="private_chat")
    site.identity.bound["email", ADDRESS] = bob.user_id
    site.identity.outdated_peppers = 2
    await alice.post(f"rooms/{room_id}/invite", invite_of())
    assert await membership(alice, room_id, bob.user_id) == "invite"
    site.identity.outdated_peppers = 100
    site.identity.peer.requests.clear()
    await alice.refused(502, "M_UNKNOWN", "POST", f"rooms/{room_id}/invite", invite_of("carol@hospital.example"))
    assert len(site.identity.peer.requests) == 6


async def test_identity_servers_that_are_not_allowed_are_not_asked(
    site: IdentitySite, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room(preset="private_chat")
    for invite in (invite_of(id_server="elsewhere.example"), invite_of(id_server="id.example:8448")):
        status, answer = await alice.request("POST", f"rooms/{room_id}/invite", invite)
        assert (status, answer["errcode"]) == (403, "M_SERVER_NOT_TRUSTED")
        assert "federation.identity_servers" in answer["error"]
        await alice.refused(403, "M_SERVER_NOT_TRUSTED", "POST", "createRoom", {"invite_3pid": [invite]})
    room_id = await bob.create_room()
    await bob.refused(403, "M_SERVER_NOT_TRUSTED", "POST", f"rooms/{room_id}/invite", invite_of())
    assert not site.identity.peer.requests
    assert not site.elsewhere.peer.requests


async def test_who_may_not_invite_tells_no_identity_server_of_anybody(site: IdentitySite, alice: Person) -> None:
    dave, eve = await site.a.person(), await site.a.person()
    options: dict[str, Any] = {"preset": "private_chat", "power_level_content_override": {"invite": 50}}
    room_id = await alice.create_room(invite=[dave.user_id], **options)
    await dave.join(room_id)
    for person in (dave, eve):
        await person.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/invite", invite_of())
    await alice.refused(404, "M_NOT_FOUND", "POST", "rooms/!nowhere:a.example/invite", invite_of())
    assert not site.identity.peer.requests


@pytest.mark.parametrize(
    ("changes", "errcode"),
    [
        ({"id_server": None}, "M_MISSING_PARAM"),
        ({"id_access_token": None}, "M_MISSING_PARAM"),
        ({"address": None}, "M_MISSING_PARAM"),
        ({"id_server": "no server"}, "M_INVALID_PARAM"),
        ({"id_access_token": "two\r\nlines"}, "M_INVALID_PARAM"),
        ({"id_access_token": ""}, "M_INVALID_PARAM"),
        ({"medium": "e mail"}, "M_INVALID_PARAM"),
        ({"address": ""}, "M_INVALID_PARAM"),
        ({"address": "bob@x email pepper"}, "M_INVALID_PARAM"),
        ({"address": "x" * 501}, "M_INVALID_PARAM"),
        ({"address": 1}, "M_BAD_JSON"),
    ],
)
async def test_bad_requests(site: IdentitySite, alice: Person, changes: dict[str, Any], errcode: str) -> None:
    room_id = await alice.create_room()
    await alice.refused(400, errcode, "POST", f"rooms/{room_id}/invite", invite_of(**changes))
    await alice.refused(400, errcode, "POST", "createRoom", {"invite_3pid": [invite_of(**changes)]})
    assert not site.identity.peer.requests


async def test_an_address_without_a_form_in_utf_8_is_refused(site: IdentitySite, alice: Person) -> None:
    room_id = await alice.create_room()
    body = b'{"id_server":"id.example","id_access_token":"x","medium":"email","address":"\\ud800@x"}'
    status, answer = await alice.request("POST", f"rooms/{room_id}/invite", body)
    assert status == 400, answer
    assert not site.identity.peer.requests


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_a_room_begins_with_invites_of_addresses(
    site: IdentitySite, alice: Person, bob: Person, version: str
) -> None:
    carol = "carol@hospital.example"
    site.identity.bound["email", ADDRESS] = bob.user_id
    room_id = await alice.create_room(
        preset="trusted_private_chat",
        name="Ward 3",
        room_version=version,
        is_direct=True,
        invite_3pid=[invite_of(), invite_of(carol), invite_of(carol)],
    )
    (stored,) = site.identity.stored
    assert (stored["room_id"], stored["address"], stored["room_name"]) == (room_id, carol, "Ward 3")
    assert set(await state(alice, room_id, THIRD_PARTY)) == {stored["token"]}
    members = await state(alice, room_id, MEMBER)
    assert (members[bob.user_id]["membership"], members[bob.user_id]["is_direct"]) == ("invite", True)
    # Whom an identity server names is invited, and trusted with no more.
    (create,) = (await state(alice, room_id, "m.room.create")).values()
    (levels,) = (await state(alice, room_id, "m.room.power_levels")).values()
    assert "additional_creators" not in create or bob.user_id not in create["additional_creators"]
    assert bob.user_id not in levels.get("users", {})
    await bob.join(room_id)


async def test_addresses_count_as_invites_of_a_new_room(site: IdentitySite, alice: Person) -> None:
    many = [invite_of(f"p{number}@hospital.example") for number in range(101)]
    await alice.refused(400, "M_INVALID_PARAM", "POST", "createRoom", {"invite_3pid": many})
    assert not site.identity.peer.requests
    room_id = await alice.create_room(invite_3pid=many[:30])
    assert len(await state(alice, room_id, THIRD_PARTY)) == 30
    looked_up = site.identity.peer.asked(f"{IDENTITY}/lookup")
    assert [len(asked.json["addresses"]) for asked in looked_up] == [30]


async def test_who_takes_no_invites_is_not_invited_by_their_address_either(site: IdentitySite, alice: Person) -> None:
    dave = await site.a.person()
    await dave.put(f"user/{dave.user_id}/account_data/m.invite_permission_config", {"default_action": "block"})
    site.identity.bound["email", ADDRESS] = dave.user_id
    room_id = await alice.create_room()
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", f"rooms/{room_id}/invite", invite_of())
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", "createRoom", {"invite_3pid": [invite_of()]})


@pytest.mark.parametrize("version", ROOM_VERSIONS)
async def test_from_an_address_to_a_member_at_another_hospital(
    site: IdentitySite, alice: Person, bob: Person, version: str
) -> None:
    """Invited by address, bound at another hospital, invited by it, joined."""
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", room_version=version)
    await alice.post(f"rooms/{room_id}/invite", invite_of())
    assert await site.identity.bind(bob, "email", ADDRESS) == 200
    content = (await state(alice, room_id, MEMBER))[bob.user_id]
    (stored,) = site.identity.stored
    assert content["third_party_invite"] == {
        "display_name": "b...@h...",
        "signed": site.identity.signed(bob.user_id, stored["token"]),
    }
    assert site.identity.peer.asked(f"{IDENTITY}/pubkey/isvalid")
    assert (await invite_state(bob, room_id) or {})["m.room.name"] == {"name": "Ward 3"}
    await bob.join(room_id)
    await bob.say(room_id, "here I am")
    assert "here I am" in await bob.bodies(room_id)


async def test_from_the_address_in_a_new_room_to_a_member(site: IdentitySite, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(preset="private_chat", invite_3pid=[invite_of()])
    assert await site.identity.bind(bob, "email", ADDRESS) == 200
    await bob.join(room_id)


async def test_a_key_that_is_not_valid_any_more_proves_nothing(site: IdentitySite, alice: Person, bob: Person) -> None:
    dave = await site.a.person()
    room_id = await alice.create_room(preset="private_chat")
    await alice.post(f"rooms/{room_id}/invite", invite_of())
    site.identity.valid_keys.clear()
    for person in (bob, dave):
        assert await site.identity.bind(person, "email", ADDRESS) == 200
        assert await membership(alice, room_id, person.user_id) is None
    site.identity.valid_keys.add(site.identity.public_key)
    for person in (bob, dave):
        assert await site.identity.bind(person, "email", ADDRESS) == 200
        assert await membership(alice, room_id, person.user_id) == "invite"


async def test_whose_validity_nobody_may_be_asked_about_proves_nothing(
    site: IdentitySite, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room(preset="private_chat")
    elsewhere = site.elsewhere
    for number, place in enumerate((f"https://elsewhere.example{IDENTITY}/pubkey/isvalid", "file:///etc/passwd", 1)):
        token = f"token{number}"
        content = {"display_name": "b", "public_key": elsewhere.public_key, "key_validity_url": place}
        await alice.set_state(room_id, THIRD_PARTY, content, token)
        elsewhere.stored.append(
            {"medium": "email", "address": ADDRESS, "room_id": room_id, "sender": alice.user_id, "token": token}
        )
    assert await elsewhere.bind(bob, "email", ADDRESS) == 200
    assert await membership(alice, room_id, bob.user_id) is None
    assert not elsewhere.peer.requests
