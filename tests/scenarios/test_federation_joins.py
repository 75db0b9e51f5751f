"""Three hospitals, and people who join rooms of each other's: what they see, and that all servers agree.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.hospitals import NetworkedHospital, run_hospitals
from tests.people import Person
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.storage.rebuild import rebuild_derived

MEMBER = "m.room.member"
A, B, C, NOWHERE, NOR_THERE = "a.example", "b.example", "c.example", "down.example", "gone.example"
LIMITS = {"join_servers_max": 3, "join_events_max": 600}
"""Of B."""


@dataclass
class Hospitals:
    """Three homeservers."""

    a: NetworkedHospital
    b: NetworkedHospital
    c: NetworkedHospital


@pytest.fixture(scope="module")
async def hospitals(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Hospitals]:
    dsns = [await make_tenant_dsn() for _ in range(3)]
    folder = tmp_path_factory.mktemp("hospitals")
    options = {B: {"federation": LIMITS}}
    async with run_hospitals([A, B, C], dsns, folder, others=[NOWHERE, NOR_THERE], options=options) as (_, found):
        yield Hospitals(*found)


def inside(hospital: NetworkedHospital) -> Homeserver:
    """The services of a hospital."""
    return hospital.process.homeservers[0].homeserver


async def hears(person: Person, room_id: str, text: str) -> None:
    """Wait until somebody reads a message."""
    await eventually(lambda: person.bodies(room_id, limit=20), lambda seen: text in seen)


async def joined(person: Person, room_id: str) -> set[str]:
    return set((await person.get(f"rooms/{room_id}/joined_members"))["joined"])


async def all_agree(room_id: str, *people: Person) -> None:
    """Wait until the room's state is the same for all."""

    async def look() -> list[set[tuple[str, str, str]]]:
        states = [await person.get(f"rooms/{room_id}/state") for person in people]
        return [{(each["type"], each["state_key"], each["event_id"]) for each in state} for state in states]

    await eventually(look, lambda states: all(state == states[0] for state in states))


async def in_room_of_joins(person: Person, room_id: str, since: str | None = None) -> dict[str, Any]:
    return dict((await person.get("sync", since=since, timeout=0))["rooms"]["join"][room_id])


def restricted_by(room_id: str) -> dict[str, Any]:
    """Options of a room that lets in who is in another, by the doing of its founder alone."""
    rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": room_id}]}
    return {
        "preset": "private_chat",
        "initial_state": [{"type": "m.room.join_rules", "content": rule}],
        "power_level_content_override": {"invite": 50},
    }


@pytest.mark.parametrize("version", [*ROOM_VERSIONS])
async def test_people_of_two_hospitals_talk_in_rooms_of_each_version(hospitals: Hospitals, version: str) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = await alice.create_room(room_version=version)
    await bob.join(room_id, A)
    await bob.say(room_id, "from B")
    await hears(alice, room_id, "from B")
    await alice.say(room_id, "from A")
    await hears(bob, room_id, "from A")
    await all_agree(room_id, alice, bob)


async def test_three_hospitals_meet_through_one_that_did_not_make_the_room(hospitals: Hospitals) -> None:
    alice, bob, carol = await hospitals.a.person(), await hospitals.b.person(), await hospitals.c.person()
    room_id = await alice.create_room()
    await bob.join(room_id, A)
    await carol.join(room_id, B)
    await eventually(lambda: joined(alice, room_id), lambda members: carol.user_id in members)
    await carol.say(room_id, "from C")
    for person in (alice, bob):
        await hears(person, room_id, "from C")
    await alice.say(room_id, "from A")
    await hears(carol, room_id, "from A")
    await all_agree(room_id, alice, bob, carol)


async def test_the_next_server_is_asked_where_the_first_is_down_or_not_in_the_room(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = await alice.create_room()
    await bob.join(room_id, NOWHERE, C, A)
    assert bob.user_id in await joined(alice, room_id)


async def test_not_more_servers_are_asked_than_configured(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = await alice.create_room()
    via = "&".join(f"via={server}" for server in (NOWHERE, NOR_THERE, C, A))
    await bob.refused(404, "M_NOT_FOUND", "POST", f"join/{quote(room_id)}?{via}", {})


async def test_a_room_with_more_state_than_configured_is_left_again(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = RoomId(await alice.create_room())
    await fill(hospitals.a, room_id, 700)
    await bob.refused(502, "M_UNKNOWN", "POST", f"join/{quote(room_id)}?via={A}", {})
    assert await alice.state(room_id, MEMBER, bob.user_id) == {"membership": "leave"}


async def test_the_older_name_of_via_is_understood(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = await alice.create_room()
    await bob.post(f"rooms/{quote(room_id)}/join?server_name=not+a+name&server_name={A}")
    assert bob.user_id in await joined(bob, room_id)


async def test_what_went_wrong_is_told(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    private = await alice.create_room(preset="private_chat")
    await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{quote(private)}?via={A}", {})
    await bob.refused(404, "M_NOT_FOUND", "POST", f"join/{quote(private)}?via={C}", {})
    await bob.refused(502, "M_UNKNOWN", "POST", f"join/{quote(private)}?via={NOWHERE}", {})
    await bob.refused(404, "M_NOT_FOUND", "POST", f"join/{quote(private)}", {})
    assert await joined(alice, private) == {alice.user_id}


async def test_a_room_is_joined_by_its_alias(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = await alice.create_room(room_alias_name="ward-9")
    answer = await bob.post(f"join/{quote('#ward-9:a.example')}")
    assert answer["room_id"] == room_id and bob.user_id in await joined(bob, room_id)


async def test_a_room_is_joined_as_a_space_names_it(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    ward = await alice.create_room(name="Ward")
    space = await alice.create_room(creation_content={"type": "m.space"})
    await alice.set_state(space, "m.space.child", {"via": [A]}, ward)
    await bob.join(space, A)
    tree = await bob.get(f"/_matrix/client/v1/rooms/{space}/hierarchy")
    (child,) = [child for room in tree["rooms"] for child in room["children_state"]]
    await bob.join(child["state_key"], *child["content"]["via"])
    assert bob.user_id in await joined(alice, ward)


async def test_a_restricted_room_lets_in_who_is_in_the_room_that_it_names(hospitals: Hospitals) -> None:
    alice, bob, carol = await hospitals.a.person(), await hospitals.b.person(), await hospitals.c.person()
    staff = await alice.create_room()
    ward = await alice.create_room(**restricted_by(staff))
    await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{quote(ward)}?via={A}", {})
    await bob.join(staff, A)
    await bob.join(ward, A)
    member = await bob.state(ward, MEMBER, bob.user_id)
    assert member["join_authorised_via_users_server"] == alice.user_id
    await carol.join(staff, A)
    await carol.join(ward, B, A)  # B is in the room, but nobody there has the power to let her in
    await all_agree(ward, alice, bob, carol)


async def test_who_nobody_here_may_let_in_is_let_in_by_others(hospitals: Hospitals) -> None:
    """The server is in the room already, but only a member elsewhere has the power to authorise the join."""
    alice, bob, bella = await hospitals.a.person(), await hospitals.b.person(), await hospitals.b.person()
    staff = await alice.create_room()
    ward = await alice.create_room(**restricted_by(staff))
    for person in (bob, bella):
        await person.join(staff, A)
    await bob.join(ward, A)
    await bella.join(ward)
    assert (await bob.state(ward, MEMBER, bella.user_id))["join_authorised_via_users_server"] == alice.user_id
    await bella.say(ward, "from Bella")
    await hears(alice, ward, "from Bella")
    await all_agree(ward, alice, bob, bella)


async def test_two_people_who_join_at_once_both_come_in(hospitals: Hospitals) -> None:
    alice, bob, bella = await hospitals.a.person(), await hospitals.b.person(), await hospitals.b.person()
    room_id = await alice.create_room()
    await asyncio.gather(*(person.join(room_id, A) for person in (bob, bella, bob, bella, bob)))
    members = {alice.user_id, bob.user_id, bella.user_id}
    for person in (bob, bella):
        assert await joined(person, room_id) == members
    await eventually(lambda: joined(alice, room_id), lambda seen: seen == members)
    await all_agree(room_id, alice, bob, bella)
    changes = await alice.get(f"rooms/{room_id}/messages", dir="b", filter='{"types":["m.room.member"]}', limit=50)
    assert [event["state_key"] for event in changes["chunk"]].count(bob.user_id) == 1


async def test_who_joins_a_room_that_their_server_is_in_needs_no_other(hospitals: Hospitals) -> None:
    alice, bob, bella = await hospitals.a.person(), await hospitals.b.person(), await hospitals.b.person()
    room_id = await alice.create_room()
    await bob.join(room_id, A)
    await bella.join(room_id, NOWHERE)
    await eventually(lambda: joined(alice, room_id), lambda seen: bella.user_id in seen)


async def test_who_comes_back_finds_what_was_before_and_what_is_now(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = await alice.create_room(name="Before")
    await bob.join(room_id, A)
    await bob.say(room_id, "bob was here")
    await hears(alice, room_id, "bob was here")
    since = (await bob.get("sync"))["next_batch"]
    await bob.leave(room_id)
    await eventually(lambda: joined(alice, room_id), lambda seen: bob.user_id not in seen)
    for number in range(5):
        await alice.say(room_id, f"without bob {number}")
    await alice.set_state(room_id, "m.room.name", {"name": "After"})
    await bob.join(room_id, A)
    told = await in_room_of_joins(bob, room_id, since)
    assert told["timeline"]["limited"]
    assert told["timeline"]["events"][-1]["content"]["membership"] == "join"
    assert await bob.state(room_id, "m.room.name") == {"name": "After"}
    await alice.say(room_id, "welcome back")
    await hears(bob, room_id, "welcome back")
    await all_agree(room_id, alice, bob)
    texts = await all_bodies(bob, room_id)
    assert texts == [
        "welcome back",
        *(f"without bob {number}" for number in reversed(range(5))),
        "bob was here",
    ]


async def all_bodies(person: Person, room_id: str) -> list[str]:
    """All texts of a room, newest first."""
    texts: list[str] = []
    page: dict[str, Any] = {"end": None}
    while "end" in page:
        page = await person.history(room_id, from_=page["end"], limit=10)
        texts += [event["content"]["body"] for event in page["chunk"] if "body" in event["content"]]
    return texts


async def test_somebody_who_was_banned_meanwhile_is_told(hospitals: Hospitals) -> None:
    """The state that comes with a join may say something new of others of the same server."""
    alice, bob, bella = await hospitals.a.person(), await hospitals.b.person(), await hospitals.b.person()
    room_id = await alice.create_room()
    for person in (bob, bella):
        await person.join(room_id, A)
    for person in (bob, bella):
        await person.leave(room_id)
    await eventually(lambda: joined(alice, room_id), lambda seen: seen == {alice.user_id})
    since = (await bella.get("sync"))["next_batch"]
    await alice.set_state(room_id, MEMBER, {"membership": "ban"}, bella.user_id)
    await bob.join(room_id, A)
    left = (await bella.get("sync", since=since, timeout=5_000))["rooms"]["leave"][room_id]
    assert left["timeline"]["events"][-1]["content"]["membership"] == "ban"


async def test_a_room_of_five_hundred_is_joined_and_lived_in(hospitals: Hospitals) -> None:
    alice, bob = await hospitals.a.person(), await hospitals.b.person()
    room_id = RoomId(await alice.create_room())
    await fill(hospitals.a, room_id, 500)
    await bob.join(room_id, A)
    assert len(await joined(bob, room_id)) == 502
    await bob.say(room_id, "from B")
    await hears(alice, room_id, "from B")
    await all_agree(room_id, alice, bob)


async def test_a_large_room_is_joined_in_steps_and_what_derives_from_it_is_right(
    hospitals: Hospitals, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tim_server.services.rooms.remote.enter.CHANGES_PER_COMMIT", 20)
    monkeypatch.setattr("tim_server.services.rooms.remote.outliers.EVENTS_PER_WRITE", 30)
    alice, carol = await hospitals.a.person(), await hospitals.c.person()
    room_id = RoomId(await alice.create_room())
    await fill(hospitals.a, room_id, 250)
    await carol.join(room_id, A)
    assert len(await joined(carol, room_id)) == 252
    await all_agree(room_id, alice, carol)
    store = inside(hospitals.c).room_sender.queues.store
    async with store.database.transaction() as tx:
        assert (await rebuild_derived(tx, store.codec)).mended == 0


async def fill(hospital: NetworkedHospital, room_id: RoomId, count: int) -> None:
    """Have so many users join a room, without accounts."""
    queues = inside(hospital).room_sender.queues
    users = [UserId(f"@nurse{number}:{hospital.name}") for number in range(count)]
    drafts = (Draft(type=MEMBER, sender=u, state_key=u, content={"membership": "join"}) for u in users)
    await asyncio.gather(*(queues.submit(room_id, DraftGroup(drafts=(draft,))) for draft in drafts))
