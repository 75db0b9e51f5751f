"""Rooms that Synapse and we share, made on either side: joins, messages, state, membership, history."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.people import Hospital, Person
from tests.synapse.conftest import Pair

pytestmark = pytest.mark.external

VERSIONS = ["10", "11", "12"]


@pytest.fixture(params=["our room", "their room"])
def sides(pair: Pair, request: pytest.FixtureRequest) -> tuple[Hospital, Hospital]:
    """Whose room it is, and the other one."""
    return (pair.ours, pair.theirs) if request.param == "our room" else (pair.theirs, pair.ours)


def server_of(person: Person) -> str:
    return person.user_id.partition(":")[2]


async def join_via(person: Person, room_id: str, server: str) -> None:
    await person.post(f"join/{quote(room_id)}", via=server, server_name=server)


async def shared_room(
    sides: tuple[Hospital, Hospital], version: str = "12", **options: Any
) -> tuple[Person, Person, str]:
    """Alice's room, and Bob from the other server, who has joined it."""
    alice, bob = await sides[0].person(), await sides[1].person()
    room_id = await alice.create_room(room_version=version, preset="public_chat", **options)
    await join_via(bob, room_id, server_of(alice))
    await eventually(lambda: memberships(alice, room_id), lambda seen: seen.get(bob.user_id) == "join")
    return alice, bob, room_id


async def memberships(person: Person, room_id: str) -> dict[str, str]:
    """The membership of everybody, as the person's server tells it."""
    answer = await person.get(f"rooms/{quote(room_id)}/members")
    return {event["state_key"]: event["content"]["membership"] for event in answer["chunk"]}


async def state_of(person: Person, room_id: str) -> dict[tuple[str, str], str]:
    """Event ids of the state."""
    events = await person.get(f"rooms/{quote(room_id)}/state")
    return {(event["type"], event["state_key"]): event["event_id"] for event in events}


async def texts(person: Person, room_id: str) -> list[str]:
    """All messages that the person can page back to, oldest first."""
    found: list[str] = []
    start = None
    for _ in range(50):
        page = await person.history(quote(room_id), limit=50, **({"from": start} if start else {}))
        found += [
            e["content"]["body"] for e in page["chunk"] if e["type"] == "m.room.message" and "body" in e["content"]
        ]
        start = page.get("end")
        if start is None:
            return found[::-1]
    raise AssertionError("the history does not end")


async def hears(person: Person, room_id: str, wanted: Sequence[str]) -> None:
    await eventually(lambda: texts(person, room_id), lambda seen: seen == [*wanted])


async def agree(room_id: str, *people: Person) -> None:
    """All see the same state in the end."""

    async def states() -> list[dict[tuple[str, str], str]]:
        return [await state_of(person, room_id) for person in people]

    await eventually(states, lambda seen: all(state == seen[0] for state in seen))


@pytest.mark.parametrize("version", VERSIONS)
async def test_both_sides_talk(sides: tuple[Hospital, Hospital], version: str) -> None:
    alice, bob, room_id = await shared_room(sides, version)
    said = []
    for number in range(5):
        for person in (alice, bob):
            said.append(f"{number} of {person.user_id}")
            await person.say(quote(room_id), said[-1])
            other = bob if person is alice else alice
            await hears(other, room_id, said)
    await agree(room_id, alice, bob)


@pytest.mark.parametrize("version", VERSIONS)
async def test_state_set_on_either_side_is_that_of_both(sides: tuple[Hospital, Hospital], version: str) -> None:
    alice, bob, room_id = await shared_room(
        sides, version, power_level_content_override={"events": {"m.room.topic": 0}}
    )
    await alice.set_state(quote(room_id), "m.room.name", {"name": "Ward 3"})
    await bob.set_state(quote(room_id), "m.room.topic", {"topic": "Rounds at seven"})
    for person in (alice, bob):
        await eventually(lambda p=person: state_of(p, room_id), lambda seen: ("m.room.name", "") in seen)
        await eventually(lambda p=person: state_of(p, room_id), lambda seen: ("m.room.topic", "") in seen)
    await agree(room_id, alice, bob)


async def invited(person: Person, room_id: str) -> bool:
    """Whether a sync tells of an invite."""
    answer = await person.sync_now()
    return room_id in answer.get("rooms", {}).get("invite", {})


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_invite_is_accepted(sides: tuple[Hospital, Hospital], version: str) -> None:
    alice, bob = await sides[0].person(), await sides[1].person()
    room_id = await alice.create_room(room_version=version, preset="private_chat", name="Ward 3")
    await alice.post(f"rooms/{quote(room_id)}/invite", {"user_id": bob.user_id})
    await eventually(lambda: invited(bob, room_id))
    answer = await bob.get("sync", timeout=0)
    stripped = answer["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert {"name": "Ward 3"} in [event["content"] for event in stripped if event["type"] == "m.room.name"]
    await join_via(bob, room_id, server_of(alice))
    await bob.say(quote(room_id), "Good morning")
    await hears(alice, room_id, ["Good morning"])
    await agree(room_id, alice, bob)


async def test_an_invite_is_declined(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob = await sides[0].person(), await sides[1].person()
    room_id = await alice.create_room(preset="private_chat")
    await alice.post(f"rooms/{quote(room_id)}/invite", {"user_id": bob.user_id})
    await eventually(lambda: invited(bob, room_id))
    await bob.leave(quote(room_id))
    await eventually(lambda: memberships(alice, room_id), lambda seen: seen[bob.user_id] == "leave")
    assert not await invited(bob, room_id)


async def test_an_invite_is_taken_back(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob = await sides[0].person(), await sides[1].person()
    room_id = await alice.create_room(preset="private_chat")
    await alice.post(f"rooms/{quote(room_id)}/invite", {"user_id": bob.user_id})
    await eventually(lambda: invited(bob, room_id))
    await alice.post(f"rooms/{quote(room_id)}/kick", {"user_id": bob.user_id})
    await eventually(lambda: invited(bob, room_id), lambda seen: not seen)


async def test_leaving_is_seen_on_the_other_side_and_ends_what_is_heard(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob, room_id = await shared_room(sides)
    await bob.leave(quote(room_id))
    await eventually(lambda: memberships(alice, room_id), lambda seen: seen[bob.user_id] == "leave")
    await alice.say(quote(room_id), "Are you there?")
    assert "Are you there?" not in await texts(bob, room_id)


@pytest.mark.parametrize("act", ["kick", "ban"])
async def test_who_is_put_out_is_out_on_both_sides(sides: tuple[Hospital, Hospital], act: str) -> None:
    alice, bob, room_id = await shared_room(sides)
    await alice.post(f"rooms/{quote(room_id)}/{act}", {"user_id": bob.user_id})

    async def may_send() -> bool:
        path = f"rooms/{quote(room_id)}/send/org.example.try/{next(bob._numbers)}"
        status, _ = await bob.request("PUT", path, {})
        assert status in (200, 403)
        return status == 200

    await eventually(may_send, lambda seen: not seen)
    server = server_of(alice)
    status, _ = await bob.request("POST", f"join/{quote(room_id)}", {}, via=server, server_name=server)
    assert status == (200 if act == "kick" else 403)


async def test_history_from_before_the_join_can_be_paged_back_to(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob = await sides[0].person(), await sides[1].person()
    room_id = await alice.create_room(preset="public_chat")
    said = [f"message {number}" for number in range(120)]
    for text in said:
        await alice.say(quote(room_id), text)
    await join_via(bob, room_id, server_of(alice))
    await hears(bob, room_id, said)


async def test_who_comes_back_hears_what_was_said_meanwhile(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob, room_id = await shared_room(sides)
    await alice.say(quote(room_id), "before")
    await hears(bob, room_id, ["before"])
    await bob.leave(quote(room_id))
    await eventually(lambda: memberships(alice, room_id), lambda seen: seen[bob.user_id] == "leave")
    await alice.say(quote(room_id), "meanwhile")
    await join_via(bob, room_id, server_of(alice))
    await alice.say(quote(room_id), "after")
    await hears(bob, room_id, ["before", "meanwhile", "after"])
    await agree(room_id, alice, bob)


async def test_a_redaction_reaches_the_other_side(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob, room_id = await shared_room(sides)
    event_id = await alice.say(quote(room_id), "the wrong patient")
    await hears(bob, room_id, ["the wrong patient"])
    await alice.put(f"rooms/{quote(room_id)}/redact/{quote(event_id)}/r1", {})
    await hears(bob, room_id, [])


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_restricted_room_lets_members_of_the_other_room_in(
    sides: tuple[Hospital, Hospital], version: str
) -> None:
    alice, bob, space = await shared_room(sides, version)
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": space}]}
    initial = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
    room_id = await alice.create_room(room_version=version, preset="private_chat", initial_state=initial)
    await join_via(bob, room_id, server_of(alice))
    await bob.say(quote(room_id), "In")
    await hears(alice, room_id, ["In"])
    stranger = await sides[1].person()
    server = server_of(alice)
    status, _ = await stranger.request("POST", f"join/{quote(room_id)}", {}, via=server, server_name=server)
    assert status == 403


async def test_who_knocks_is_let_in(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob = await sides[0].person(), await sides[1].person()
    initial = [{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}]
    room_id = await alice.create_room(preset="private_chat", initial_state=initial)
    server = server_of(alice)
    await bob.post(f"knock/{quote(room_id)}", via=server, server_name=server)
    await eventually(lambda: memberships(alice, room_id), lambda seen: seen.get(bob.user_id) == "knock")
    await alice.post(f"rooms/{quote(room_id)}/invite", {"user_id": bob.user_id})
    await eventually(lambda: invited(bob, room_id))
    await join_via(bob, room_id, server)
    await agree(room_id, alice, bob)


async def test_a_room_is_found_by_its_alias(sides: tuple[Hospital, Hospital]) -> None:
    alice, bob = await sides[0].person(), await sides[1].person()
    name = alice.user_id[1:].partition(":")[0]
    room_id = await alice.create_room(preset="public_chat", room_alias_name=name)
    await bob.post(f"join/{quote(f'#{name}:{server_of(alice)}')}")
    assert (await memberships(bob, room_id))[bob.user_id] == "join"
