"""`joining.yaml`, `leaving.yaml`, `inviting.yaml`, `kicking.yaml`, `banning.yaml`, `knocking.yaml`."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.people import CLIENT, SERVER, Hospital, Person

UNKNOWN = f"!unknown:{SERVER}"


async def membership(person: Person, room_id: str, of: Person) -> str:
    return str((await person.state(room_id, "m.room.member", of.user_id))["membership"])


async def private_room(owner: Person, *invited: Person, **options: Any) -> str:
    """A private room of `owner`, into which the others have been invited."""
    ids = [person.user_id for person in invited]
    return await owner.create_room(preset="private_chat", invite=ids, **options)


async def test_joining_by_id_and_by_alias(hospital: Hospital) -> None:
    alice, bob, carol, dave = [await hospital.person() for _ in range(4)]
    alias = secrets.token_hex(4)
    room_id = await alice.create_room(room_alias_name=alias)
    assert await bob.post(f"rooms/{room_id}/join") == {"room_id": room_id}
    assert await carol.post(f"join/{room_id}") == {"room_id": room_id}
    assert await dave.post(f"join/%23{alias}:{SERVER}") == {"room_id": room_id}
    for person in (alice, bob, carol, dave):
        assert await person.get("joined_rooms") == {"joined_rooms": [room_id]}


async def test_member_event_has_name_avatar_and_reason(hospital: Hospital) -> None:
    alice = await hospital.person()
    bob = await hospital.person(displayname="Bob", avatar_url=f"mxc://{SERVER}/bob")
    room_id = await alice.create_room()
    await bob.post(f"join/{room_id}", {"reason": "Night shift"})
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {
        "membership": "join",
        "displayname": "Bob",
        "avatar_url": f"mxc://{SERVER}/bob",
        "reason": "Night shift",
    }


async def test_what_a_join_says_of_itself_is_kept(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person(displayname="Bob")
    room_id = await alice.create_room()
    signed = {"third_party_signed": {"sender": "@x:y", "mxid": bob.user_id, "token": "t", "signatures": {}}}
    body = {"org.example.shift": "night", "membership": "ban", "reason": None}
    await bob.post(f"rooms/{room_id}/join", body | signed)
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {
        "membership": "join",
        "displayname": "Bob",
        "org.example.shift": "night",
    }
    await bob.leave(room_id)
    await bob.refused(400, "M_BAD_JSON", "POST", f"join/{room_id}", {"reason": 1})
    await bob.refused(400, "M_BAD_JSON", "POST", f"join/{room_id}", {"org.example.number": 1.5})
    async with hospital.session.post(
        f"{CLIENT}/join/{room_id}", headers={"Authorization": f"Bearer {bob.token}"}
    ) as response:
        assert response.status == 200  # without any body


async def test_joining_twice_makes_no_second_event(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    before = len((await alice.history(room_id, limit=100))["chunk"])
    await bob.join(room_id)
    assert len((await alice.history(room_id, limit=100))["chunk"]) == before


async def test_rooms_that_cannot_be_joined(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await private_room(alice)
    await bob.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/join", {})
    await bob.refused(404, "M_NOT_FOUND", "POST", f"rooms/{UNKNOWN}/join", {})
    await bob.refused(404, "M_NOT_FOUND", "POST", f"join/%23nowhere:{SERVER}", {})
    await bob.refused(400, "M_INVALID_PARAM", "POST", "join/nowhere", {})
    await alice.post(f"rooms/{room_id}/ban", {"user_id": bob.user_id})
    await bob.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/join", {})


async def test_invited_user_may_join_or_decline(hospital: Hospital) -> None:
    alice, bob, carol = await hospital.person(), await hospital.person(displayname="Bob"), await hospital.person()
    room_id = await private_room(alice)
    for person in (bob, carol):
        await alice.post(f"rooms/{room_id}/invite", {"user_id": person.user_id, "reason": "Handover"})
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {
        "membership": "invite",
        "displayname": "Bob",
        "reason": "Handover",
    }
    await bob.join(room_id)
    await carol.leave(room_id)
    assert await membership(alice, room_id, bob) == "join"
    assert await membership(alice, room_id, carol) == "leave"
    await carol.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/join", {})


async def test_inviting_again_changes_nothing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await private_room(alice, bob)
    before = await alice.history(room_id, limit=100)
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    assert len((await alice.history(room_id, limit=100))["chunk"]) == len(before["chunk"])


async def test_invites_that_are_refused(hospital: Hospital) -> None:
    alice, bob, carol, dave = [await hospital.person() for _ in range(4)]
    room_id = await private_room(alice, bob, power_level_content_override={"invite": 50})
    await bob.join(room_id)
    invite = f"rooms/{room_id}/invite"
    await bob.refused(403, "M_FORBIDDEN", "POST", invite, {"user_id": carol.user_id})  # without the power
    await carol.refused(403, "M_FORBIDDEN", "POST", invite, {"user_id": dave.user_id})  # not in the room
    await alice.refused(403, "M_FORBIDDEN", "POST", invite, {"user_id": bob.user_id})  # joined already
    await alice.post(f"rooms/{room_id}/ban", {"user_id": carol.user_id})
    await alice.refused(403, "M_FORBIDDEN", "POST", invite, {"user_id": carol.user_id})  # banned
    await alice.post(invite, {"user_id": dave.user_id})
    await bob.refused(403, "M_FORBIDDEN", "POST", invite, {"user_id": dave.user_id})  # even if invited already
    await alice.refused(400, "M_MISSING_PARAM", "POST", invite, {})
    await alice.refused(400, "M_INVALID_PARAM", "POST", invite, {"user_id": "carol"})
    threepid = {"id_server": "id.example", "id_access_token": "x", "medium": "email", "address": "c@example.org"}
    await alice.refused(403, "M_SERVER_NOT_TRUSTED", "POST", invite, threepid)


async def test_who_takes_no_invites(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await private_room(alice)
    setting = f"user/{bob.user_id}/account_data/m.invite_permission_config"
    await bob.put(setting, {"default_action": "block"})
    invite = {"user_id": bob.user_id}
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", f"rooms/{room_id}/invite", invite)
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", "createRoom", {"invite": [bob.user_id]})
    invited = {"type": "m.room.member", "state_key": bob.user_id, "content": {"membership": "invite"}}
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", "createRoom", {"initial_state": [invited]})
    member = f"rooms/{room_id}/state/m.room.member/{bob.user_id}"
    await alice.refused(403, "M_INVITE_BLOCKED", "PUT", member, {"membership": "invite"})
    await bob.put(setting, {})
    await alice.post(f"rooms/{room_id}/invite", invite)


async def test_leaving(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    await bob.post(f"rooms/{room_id}/leave", {"reason": "End of shift"})
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {
        "membership": "leave",
        "reason": "End of shift",
    }
    assert await bob.get("joined_rooms") == {"joined_rooms": []}
    await bob.leave(room_id)  # has left already
    await carol.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/leave", {})
    await carol.refused(404, "M_NOT_FOUND", "POST", f"rooms/{UNKNOWN}/leave", {})


async def test_kicking(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    kick = f"rooms/{room_id}/kick"
    await bob.refused(403, "M_FORBIDDEN", "POST", kick, {"user_id": alice.user_id})
    await alice.refused(403, "M_FORBIDDEN", "POST", kick, {"user_id": carol.user_id})  # never was in the room
    await alice.post(kick, {"user_id": bob.user_id, "reason": "Wrong ward"})
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {"membership": "leave", "reason": "Wrong ward"}
    await alice.refused(403, "M_FORBIDDEN", "POST", kick, {"user_id": bob.user_id})  # has left already
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/send/m.room.message/1", _text("Still there?"))


def _text(body: str) -> dict[str, str]:
    return {"msgtype": "m.text", "body": body}


async def test_kick_takes_an_invite_back_but_lifts_no_ban(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await private_room(alice, bob)
    await alice.post(f"rooms/{room_id}/kick", {"user_id": bob.user_id})
    assert await membership(alice, room_id, bob) == "leave"
    await alice.post(f"rooms/{room_id}/ban", {"user_id": carol.user_id})
    await alice.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/kick", {"user_id": carol.user_id})
    assert await membership(alice, room_id, carol) == "ban"


async def test_banning_and_unbanning(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    ban, unban = f"rooms/{room_id}/ban", f"rooms/{room_id}/unban"
    await bob.refused(403, "M_FORBIDDEN", "POST", ban, {"user_id": alice.user_id})
    await alice.refused(400, "M_BAD_STATE", "POST", unban, {"user_id": bob.user_id})
    await alice.post(ban, {"user_id": bob.user_id, "reason": "Noise"})
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {"membership": "ban", "reason": "Noise"}
    await bob.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/join", {})
    await bob.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/leave", {})
    await bob.refused(403, "M_FORBIDDEN", "POST", unban, {"user_id": bob.user_id})
    await alice.post(unban, {"user_id": bob.user_id})
    await bob.join(room_id)


async def test_forgetting(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    forget = f"rooms/{room_id}/forget"
    await bob.refused(400, "M_UNKNOWN", "POST", forget, {})
    await bob.leave(room_id)
    await bob.history(room_id)
    await bob.post(forget)
    await bob.post(forget)  # once more is no error
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/messages", dir="b")
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/state")
    await carol.refused(404, "M_NOT_FOUND", "POST", forget, {})
    await bob.join(room_id)
    await bob.history(room_id)


async def test_restricted_join_needs_a_room_in_common(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    staff = await alice.create_room()
    await bob.join(staff)
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": staff}]}
    ward = await private_room(alice, initial_state=[{"type": "m.room.join_rules", "content": rules}])
    await bob.join(ward)
    content = await alice.state(ward, "m.room.member", bob.user_id)
    assert content["join_authorised_via_users_server"] == alice.user_id
    await carol.refused(403, "M_FORBIDDEN", "POST", f"join/{ward}", {})
    await alice.post(f"rooms/{ward}/invite", {"user_id": carol.user_id})
    await carol.join(ward)
    assert "join_authorised_via_users_server" not in await alice.state(ward, "m.room.member", carol.user_id)


async def test_who_lets_others_into_a_restricted_room(hospital: Hospital) -> None:
    alice, bob, carol, dave = [await hospital.person() for _ in range(4)]
    staff = await alice.create_room()
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": staff}]}
    users = {alice.user_id: 100, bob.user_id: -1}
    ward = await alice.create_room(room_version="10", power_level_content_override={"users": users, "invite": 0})
    await bob.join(ward)
    await alice.set_state(ward, "m.room.join_rules", rules)

    async def let_in(person: Person) -> str:
        await person.join(staff)
        await person.join(ward)
        member = await person.state(ward, "m.room.member", person.user_id)
        return str(member["join_authorised_via_users_server"])

    assert await let_in(carol) == alice.user_id
    await alice.leave(ward)
    assert await let_in(dave) == carol.user_id
    for person in (carol, dave):
        await person.leave(ward)
    await carol.refused(400, "M_UNABLE_TO_GRANT_JOIN", "POST", f"join/{ward}", {})


async def test_restricted_join_needs_a_member_who_may_invite(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    staff = await alice.create_room()
    for person in (bob, carol):
        await person.join(staff)
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": staff}]}
    ward = await private_room(
        alice,
        initial_state=[{"type": "m.room.join_rules", "content": rules}],
        power_level_content_override={"invite": 50},
    )
    await bob.join(ward)
    await alice.leave(ward)
    await carol.refused(400, "M_UNABLE_TO_GRANT_JOIN", "POST", f"join/{ward}", {})


async def test_knocking(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    rules = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    room_id = await private_room(alice, initial_state=rules)
    assert await bob.post(f"knock/{room_id}", {"reason": "On call"}) == {"room_id": room_id}
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {"membership": "knock", "reason": "On call"}
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    await bob.join(room_id)
    await carol.post(f"knock/{room_id}")
    await carol.leave(room_id)
    assert await membership(alice, room_id, carol) == "leave"


async def test_a_knock_is_declined(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    rules = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    room_id = await private_room(alice, initial_state=rules)
    await bob.post(f"knock/{room_id}")
    await bob.post(f"knock/{room_id}")  # once more is no error
    await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}", {})
    await alice.post(f"rooms/{room_id}/kick", {"user_id": bob.user_id, "reason": "Not now"})
    assert await alice.state(room_id, "m.room.member", bob.user_id) == {"membership": "leave", "reason": "Not now"}
    await bob.post(f"knock/{room_id}")
    await alice.post(f"rooms/{room_id}/ban", {"user_id": bob.user_id})
    await bob.refused(403, "M_FORBIDDEN", "POST", f"knock/{room_id}", {})


async def test_some_join_and_others_knock(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    staff = await alice.create_room()
    await bob.join(staff)
    content = {"join_rule": "knock_restricted", "allow": [{"type": "m.room_membership", "room_id": staff}]}
    room_id = await private_room(alice, initial_state=[{"type": "m.room.join_rules", "content": content}])
    await bob.join(room_id)
    await carol.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}", {})
    await carol.post(f"knock/{room_id}")
    await alice.post(f"rooms/{room_id}/invite", {"user_id": carol.user_id})
    await carol.join(room_id)
    await carol.refused(403, "M_FORBIDDEN", "POST", f"knock/{room_id}", {})  # is there already


async def test_knocks_that_are_refused(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await private_room(alice)
    await bob.refused(403, "M_FORBIDDEN", "POST", f"knock/{room_id}", {})
    await bob.refused(404, "M_NOT_FOUND", "POST", f"knock/{UNKNOWN}", {})
    old = await private_room(alice, room_version="6")
    await bob.refused(403, "M_FORBIDDEN", "POST", f"knock/{old}", {})


async def test_changed_profile_reaches_the_rooms(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person(displayname="Bob")
    rooms = [await alice.create_room() for _ in range(3)]
    for room_id in rooms:
        await bob.post(f"join/{room_id}", {"reason": "Curious"})
    await bob.leave(rooms[2])
    await bob.put(f"profile/{bob.user_id}/displayname", {"displayname": "Dr. Bob"})
    for room_id in rooms[:2]:
        content = await alice.state(room_id, "m.room.member", bob.user_id)
        assert content == {"membership": "join", "displayname": "Dr. Bob"}
    assert await membership(alice, rooms[2], bob) == "leave"


@pytest.mark.parametrize("verb", ["kick", "ban", "unban", "invite"])
async def test_moderating_an_unknown_room(hospital: Hospital, verb: str) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    await alice.refused(404, "M_NOT_FOUND", "POST", f"rooms/{UNKNOWN}/{verb}", {"user_id": bob.user_id})


async def test_strangers_learn_nothing_of_who_is_in_a_room(hospital: Hospital) -> None:
    alice, bob, carol, stranger = [await hospital.person() for _ in range(4)]
    room_id = await private_room(alice, bob)
    await bob.join(room_id)
    await alice.post(f"rooms/{room_id}/ban", {"user_id": carol.user_id})
    for action in ("invite", "kick", "ban", "unban"):
        answers = [
            await stranger.request("POST", f"rooms/{room_id}/{action}", {"user_id": person.user_id})
            for person in (alice, bob, carol, await hospital.person())
        ]
        assert all(answer == answers[0] for answer in answers) and answers[0][0] == 403, answers


async def test_leaving_twice_at_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    answers = await asyncio.gather(*(bob.request("POST", f"rooms/{room_id}/leave", {}) for _ in range(5)))
    assert [status for status, _ in answers] == [200] * 5
