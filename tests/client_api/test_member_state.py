"""Member events set through `room_state.yaml`: the rules are those of the endpoints for memberships."""

from typing import Any

import pytest

from tests.people import SERVER, Hospital, Person


def member(room_id: str, of: Person) -> str:
    return f"rooms/{room_id}/state/m.room.member/{of.user_id}"


async def content_of(person: Person, room_id: str, of: Person) -> Any:
    return await person.state(room_id, "m.room.member", of.user_id)


async def restricted_ward(owner: Person, *members: Person) -> str:
    """A room for members of another, in which these are."""
    staff = await owner.create_room()
    for person in members:
        await person.join(staff)
    rules = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": staff}]}
    state = [{"type": "m.room.join_rules", "content": rules}]
    return await owner.create_room(preset="private_chat", initial_state=state)


async def test_joining_leaving_and_coming_back(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person(displayname="Bob")
    room_id = await alice.create_room()
    joined = await bob.put(member(room_id, bob), {"membership": "join"})
    assert await content_of(alice, room_id, bob) == {"membership": "join", "displayname": "Bob"}
    assert await bob.put(member(room_id, bob), {"membership": "join"}) == joined
    await bob.put(member(room_id, bob), {"membership": "leave", "reason": "End of shift"})
    assert await content_of(alice, room_id, bob) == {"membership": "leave", "reason": "End of shift"}


async def test_a_name_for_one_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person(displayname="Bob", avatar_url=f"mxc://{SERVER}/bob")
    room_id = await alice.create_room()
    await bob.join(room_id)
    content = {"membership": "join", "displayname": "Dr. Bob", "org.example.role": "on call"}
    await bob.put(member(room_id, bob), content)
    assert await content_of(alice, room_id, bob) == content
    await alice.refused(403, "M_FORBIDDEN", "PUT", member(room_id, bob), {"membership": "join", "displayname": "x"})


async def test_restricted_joins_are_authorised_by_the_server_not_by_the_client(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await restricted_ward(alice, bob)
    forged = {"membership": "join", "join_authorised_via_users_server": alice.user_id}
    await carol.refused(403, "M_FORBIDDEN", "PUT", member(room_id, carol), forged)
    await carol.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}", forged)
    await bob.put(member(room_id, bob), {"membership": "join"})
    assert (await content_of(alice, room_id, bob))["join_authorised_via_users_server"] == alice.user_id
    await bob.put(member(room_id, bob), {**forged, "displayname": "Bob"})
    assert await content_of(alice, room_id, bob) == {"membership": "join", "displayname": "Bob"}


async def test_inviting(hospital: Hospital) -> None:
    alice, bob, carol = await hospital.person(), await hospital.person(displayname="Bob"), await hospital.person()
    room_id = await alice.create_room(preset="private_chat")
    await alice.put(member(room_id, bob), {"membership": "invite", "is_direct": True})
    assert await content_of(alice, room_id, bob) == {"membership": "invite", "displayname": "Bob", "is_direct": True}
    await bob.join(room_id)
    await alice.refused(403, "M_FORBIDDEN", "PUT", member(room_id, bob), {"membership": "invite"})
    await carol.refused(403, "M_FORBIDDEN", "PUT", member(room_id, bob), {"membership": "invite"})


async def test_kicking_banning_and_unbanning(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    await bob.refused(403, "M_FORBIDDEN", "PUT", member(room_id, alice), {"membership": "leave"})
    await alice.put(member(room_id, bob), {"membership": "leave", "reason": "Wrong ward"})
    await alice.refused(403, "M_FORBIDDEN", "PUT", member(room_id, bob), {"membership": "leave"})  # has left already
    await alice.refused(403, "M_FORBIDDEN", "PUT", member(room_id, carol), {"membership": "leave"})
    await alice.put(member(room_id, bob), {"membership": "ban"})
    await bob.refused(403, "M_FORBIDDEN", "PUT", member(room_id, bob), {"membership": "join"})
    await alice.put(member(room_id, bob), {"membership": "leave"})
    await bob.put(member(room_id, bob), {"membership": "join"})


async def test_knocking(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person(displayname="Bob")
    rules = [{"type": "m.room.join_rules", "content": {"join_rule": "knock"}}]
    room_id = await alice.create_room(preset="private_chat", initial_state=rules)
    await bob.put(member(room_id, bob), {"membership": "knock", "reason": "On call"})
    assert await content_of(alice, room_id, bob) == {"membership": "knock", "displayname": "Bob", "reason": "On call"}


@pytest.mark.parametrize("membership", ["join", "leave", "knock", "invite", "ban"])
async def test_an_unknown_room(hospital: Hospital, membership: str) -> None:
    alice = await hospital.person()
    path = member(f"!unknown:{SERVER}", alice)
    await alice.refused(404, "M_NOT_FOUND", "PUT", path, {"membership": membership})
