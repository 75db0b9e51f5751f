"""Two hospitals: people of one are invited by the other, knock, decline, are removed, and leave whatever comes.

Spec: https://spec.matrix.org/v1.19/server-server-api/#inviting-to-a-room
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.hospitals import Network, run_networked
from tests.inviting import invite_state, section
from tests.people import Person

MEMBER = "m.room.member"


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person(displayname="Alice")


@pytest.fixture
async def bob(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.b.person(displayname="Bob")


def membership_of(person: Person, room_id: str, user_id: str) -> Callable[[], Awaitable[Any]]:
    """A look at somebody's membership, as a person in the room sees it."""

    async def look() -> Any:
        for event in await person.get(f"rooms/{room_id}/state"):
            if (event["type"], event["state_key"]) == (MEMBER, user_id):
                return event["content"]["membership"]
        return None

    return look


async def is_now(look: Callable[[], Awaitable[Any]], membership: str) -> None:
    await eventually(look, lambda seen: seen == membership)


def in_section(person: Person, name: str, room_id: str) -> Callable[[], Awaitable[Any]]:
    """A look at a section of an initial sync."""

    async def look() -> Any:
        return await section(person, name, room_id, filter='{"room":{"include_leave":true}}')

    return look


async def test_bob_is_invited_and_joins(neighbourhood: Neighbourhood, alice: Person, bob: Person) -> None:
    since = (await bob.get("sync"))["next_batch"]
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", invite=[bob.user_id], is_direct=True)
    answer = await bob.get("sync", since=since, timeout=10_000)
    told = answer["rooms"]["invite"][room_id]["invite_state"]["events"]
    contents = {(event["type"], event["state_key"]): event["content"] for event in told}
    assert contents["m.room.name", ""] == {"name": "Ward 3"}
    assert contents[MEMBER, alice.user_id]["displayname"] == "Alice"
    assert contents[MEMBER, bob.user_id]["is_direct"] is True
    await bob.join(room_id)
    await is_now(membership_of(alice, room_id, bob.user_id), "join")
    assert await section(bob, "invite", room_id) is None
    assert await section(bob, "join", room_id) is not None


async def test_bob_declines(neighbourhood: Neighbourhood, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await bob.post(f"rooms/{room_id}/leave", {"reason": "no time"})
    assert await membership_of(alice, room_id, bob.user_id)() == "leave"
    assert await section(bob, "invite", room_id) is None
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    assert await invite_state(bob, room_id) is not None


@pytest.mark.parametrize("act", ["kick", "ban"])
async def test_the_invite_is_taken_back(neighbourhood: Neighbourhood, alice: Person, bob: Person, act: str) -> None:
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await alice.post(f"rooms/{room_id}/{act}", {"user_id": bob.user_id})
    await eventually(in_section(bob, "invite", room_id), lambda seen: seen is None)
    left = await in_section(bob, "leave", room_id)()
    assert left["timeline"]["events"][-1]["content"]["membership"] == ("leave" if act == "kick" else "ban")
    await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}", {}, via="a.example")


async def test_bob_knocks_and_is_let_in(neighbourhood: Neighbourhood, alice: Person, bob: Person) -> None:
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", initial_state=[rule])
    await bob.post(f"knock/{room_id}", {"reason": "please"}, via="a.example")
    assert (await invite_state(bob, room_id, "knock") or {})["m.room.name"] == {"name": "Ward 3"}
    assert await membership_of(alice, room_id, bob.user_id)() == "knock"
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    assert await section(bob, "knock", room_id) is None
    await bob.join(room_id)
    await is_now(membership_of(alice, room_id, bob.user_id), "join")


async def test_bob_knocks_and_is_refused_or_thinks_better_of_it(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    rule = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
    room_id = await alice.create_room(preset="private_chat", initial_state=[rule])
    await bob.post(f"knock/{room_id}", via="a.example")
    await alice.post(f"rooms/{room_id}/kick", {"user_id": bob.user_id, "reason": "no"})
    await eventually(in_section(bob, "knock", room_id), lambda seen: seen is None)
    await bob.post(f"knock/{room_id}", via="a.example")
    await bob.leave(room_id)
    assert await membership_of(alice, room_id, bob.user_id)() == "leave"


@pytest.mark.parametrize("act", ["kick", "ban"])
async def test_the_last_of_a_hospital_is_told_of_having_been_removed(
    neighbourhood: Neighbourhood, alice: Person, bob: Person, act: str
) -> None:
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await bob.join(room_id)
    await is_now(membership_of(alice, room_id, bob.user_id), "join")
    await alice.post(f"rooms/{room_id}/{act}", {"user_id": bob.user_id})
    left = await eventually(in_section(bob, "leave", room_id))
    assert left["timeline"]["events"][-1]["content"]["membership"] == ("leave" if act == "kick" else "ban")
    await alice.say(room_id, "not for bob")
    if act == "kick":
        await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
        assert await invite_state(bob, room_id) is not None
        await bob.join(room_id)
        await is_now(membership_of(alice, room_id, bob.user_id), "join")


async def test_who_takes_no_invites_gets_none_from_elsewhere(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    await bob.put(f"user/{bob.user_id}/account_data/m.invite_permission_config", {"default_action": "block"})
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", "createRoom", {"invite": [bob.user_id]})
    room_id = await alice.create_room()
    await alice.refused(403, "M_INVITE_BLOCKED", "POST", f"rooms/{room_id}/invite", {"user_id": bob.user_id})


async def test_somebody_of_the_same_hospital_is_in_the_room_already(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    carol = await neighbourhood.b.person()
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", invite=[bob.user_id])
    await bob.join(room_id)
    await is_now(membership_of(alice, room_id, bob.user_id), "join")
    await alice.post(f"rooms/{room_id}/invite", {"user_id": carol.user_id})
    await eventually(in_section(carol, "invite", room_id))
    assert (await invite_state(carol, room_id) or {})["m.room.name"] == {"name": "Ward 3"}
    await carol.leave(room_id)
    await is_now(membership_of(alice, room_id, carol.user_id), "leave")


async def test_two_of_a_hospital_are_invited_and_one_joins_first(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    carol = await neighbourhood.b.person()
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", invite=[bob.user_id, carol.user_id])
    await bob.join(room_id)
    assert (await invite_state(carol, room_id) or {})["m.room.name"] == {"name": "Ward 3"}
    await carol.join(room_id)
    for user_id in (bob.user_id, carol.user_id):
        await is_now(membership_of(alice, room_id, user_id), "join")


async def test_bob_leaves_while_the_other_hospital_is_down(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path: Path
) -> None:
    network = Network.of(tmp_path, ["a.example", "b.example"])
    dsn = await make_tenant_dsn()
    async with run_networked(network, "b.example", await make_tenant_dsn(), tmp_path / "b") as b:
        bob = await b.person()
        async with run_networked(network, "a.example", dsn, tmp_path / "a") as a:
            alice = await a.person("alice")
            rooms = [await alice.create_room(preset="private_chat", invite=[bob.user_id]) for _ in range(2)]
            await bob.join(rooms[0])
        for room_id in rooms:
            await bob.leave(room_id)
        for room_id in rooms:
            assert await section(bob, "leave", room_id, filter='{"room":{"include_leave":true}}') is not None
        assert (await bob.get("joined_rooms"))["joined_rooms"] == []
        async with run_networked(network, "a.example", dsn, tmp_path / "a") as a:
            alice.session = a.session
            await is_now(membership_of(alice, rooms[0], bob.user_id), "leave")
