"""`room_upgrades.yaml`: what a replacement takes over, what happens to the old room, who may do it."""

import asyncio
import secrets
from typing import Any

import pytest

from tests.people import SERVER, Hospital, Person


async def upgrade(person: Person, room_id: str, version: str = "12", **body: Any) -> str:
    answer = await person.post(f"rooms/{room_id}/upgrade", {"new_version": version, **body})
    return str(answer["replacement_room"])


async def levels(person: Person, room_id: str) -> Any:
    return await person.state(room_id, "m.room.power_levels")


@pytest.mark.parametrize(("old_version", "new_version"), [("1", "2"), ("10", "11"), ("11", "12"), ("12", "12")])
async def test_rooms_name_each_other(hospital: Hospital, old_version: str, new_version: str) -> None:
    alice = await hospital.person(displayname="Alice")
    old = await alice.create_room(room_version=old_version, creation_content={"type": "m.space", "m.federate": False})
    last = (await alice.history(old, limit=1))["chunk"][0]["event_id"]
    new = await upgrade(alice, old, new_version)
    create = await alice.state(new, "m.room.create")
    tombstone = await alice.get(f"rooms/{old}/state/m.room.tombstone/", format="event")
    assert tombstone["content"] == {"body": "This room has been replaced", "replacement_room": new}
    predecessor = {"room_id": old, "event_id": last if new_version == "12" else tombstone["event_id"]}
    assert create["predecessor"] == predecessor
    assert {key: create[key] for key in ("room_version", "type", "m.federate")} == {
        "room_version": new_version,
        "type": "m.space",
        "m.federate": False,
    }
    assert await alice.state(new, "m.room.member", alice.user_id) == {"membership": "join", "displayname": "Alice"}
    await alice.say(new, "Here we are")


async def test_state_that_is_taken_over(hospital: Hospital) -> None:
    alice = await hospital.person()
    child = await alice.create_room()
    state = {
        ("m.room.name", ""): {"name": "Ward"},
        ("m.room.topic", ""): {"topic": "Rounds at eight"},
        ("m.room.avatar", ""): {"url": f"mxc://{SERVER}/ward"},
        ("m.room.join_rules", ""): {"join_rule": "knock"},
        ("m.room.guest_access", ""): {"guest_access": "forbidden"},
        ("m.room.history_visibility", ""): {"history_visibility": "joined"},
        ("m.room.encryption", ""): {"algorithm": "m.megolm.v1.aes-sha2"},
        ("m.room.server_acl", ""): {"allow": ["*"], "deny": ["evil.example"]},
        ("m.space.child", child): {"via": [SERVER], "order": "a"},
    }
    old = await alice.create_room(room_version="11")
    for (event_type, state_key), content in state.items():
        await alice.set_state(old, event_type, content, state_key)
    await alice.set_state(old, "org.example.own", {"x": 1})
    await alice.set_state(old, "m.space.child", {}, "!gone:hospital.example")
    new = await upgrade(alice, old)
    for (event_type, state_key), content in state.items():
        assert await alice.state(new, event_type, state_key) == content
    assert {event["type"] for event in await alice.get(f"rooms/{new}/state")} == {
        *(key[0] for key in state),
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
    }


async def test_a_redacted_name_is_not_taken_over(hospital: Hospital) -> None:
    alice = await hospital.person()
    old = await alice.create_room()
    event_id = await alice.set_state(old, "m.room.name", {"name": "A patient"})
    await alice.put(f"rooms/{old}/redact/{event_id}/1", {})
    await alice.refused(404, "M_NOT_FOUND", "GET", f"rooms/{await upgrade(alice, old)}/state/m.room.name")


async def test_members_stay_and_bans_are_taken_over(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    old = await alice.create_room()
    await bob.join(old)
    await alice.post(f"rooms/{old}/ban", {"user_id": carol.user_id, "reason": "Noise"})
    new = await upgrade(alice, old)
    assert await alice.state(new, "m.room.member", carol.user_id) == {"membership": "ban", "reason": "Noise"}
    await carol.refused(403, "M_FORBIDDEN", "POST", f"join/{new}", {})
    assert bob.user_id not in (await alice.get(f"rooms/{new}/joined_members"))["joined"]
    await bob.join(new)


async def test_aliases_and_the_place_in_the_directory_move(hospital: Hospital) -> None:
    alice = await hospital.person()
    names = [secrets.token_hex(5) for _ in range(2)]
    aliases = [f"#{name}:{SERVER}" for name in names]
    old = await alice.create_room(visibility="public", room_alias_name=names[0])
    await alice.put(f"directory/room/%23{names[1]}:{SERVER}", {"room_id": old})
    canonical = {"alias": aliases[0], "alt_aliases": [aliases[1]]}
    await alice.set_state(old, "m.room.canonical_alias", canonical)
    new = await upgrade(alice, old)
    for name in names:
        assert (await alice.get(f"directory/room/%23{name}:{SERVER}"))["room_id"] == new
    assert await alice.state(new, "m.room.canonical_alias") == canonical
    assert await alice.state(old, "m.room.canonical_alias") == {}
    assert await alice.get(f"directory/list/room/{new}") == {"visibility": "public"}
    assert await alice.get(f"directory/list/room/{old}") == {"visibility": "private"}


async def test_power_levels_are_taken_over_and_the_old_room_is_closed(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    wanted = {"users": {alice.user_id: 100, bob.user_id: 40}, "events": {"m.room.name": 10}, "invite": 60}
    old = await alice.create_room(room_version="10", power_level_content_override=wanted)
    before = await levels(alice, old)
    new = await upgrade(alice, old, "11")
    assert await levels(alice, new) == before
    assert await levels(alice, old) == before | {"events_default": 50, "invite": 60}
    await bob.join(old)
    message = {"msgtype": "m.text", "body": "Anybody here?"}
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{old}/send/m.room.message/1", message)


async def test_a_moderator_may_upgrade_without_gaining_power(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    wanted = {
        "users": {alice.user_id: 100, bob.user_id: 50},
        "events": {"m.room.tombstone": 50, "m.room.power_levels": 100},
    }
    old = await alice.create_room(room_version="10", power_level_content_override=wanted)
    for person in (bob, carol):
        await person.join(old)
    await alice.post(f"rooms/{old}/ban", {"user_id": carol.user_id})
    before = await levels(alice, old)
    new = await upgrade(bob, old, "11")
    assert await levels(bob, new) == before
    assert await levels(bob, old) == before  # a moderator may not change them
    assert (await bob.state(new, "m.room.member", carol.user_id))["membership"] == "ban"
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{new}/state/m.room.power_levels", {"users": {}})


async def test_creators_are_not_listed_since_version_12(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    users = {alice.user_id: 100, bob.user_id: 100, carol.user_id: 50}
    old = await alice.create_room(room_version="11", power_level_content_override={"users": users})
    new = await upgrade(alice, old, "12", additional_creators=[bob.user_id, alice.user_id])
    assert (await alice.state(new, "m.room.create"))["additional_creators"] == [bob.user_id]
    assert (await levels(alice, new))["users"] == {carol.user_id: 50}
    back = await upgrade(alice, new, "11", additional_creators=[carol.user_id])
    assert "additional_creators" not in await alice.state(back, "m.room.create")
    assert (await levels(alice, back))["users"] == {alice.user_id: 100, bob.user_id: 100, carol.user_id: 50}


async def test_levels_that_are_strings_become_integers(hospital: Hospital) -> None:
    alice = await hospital.person()
    old = await alice.create_room(room_version="5", power_level_content_override={"users": {alice.user_id: 100}})
    content = await levels(alice, old)
    assert isinstance(content["ban"], int)
    new = await upgrade(alice, old, "12")
    assert (await levels(alice, new))["ban"] == 50


@pytest.mark.parametrize(
    ("version", "rule", "expected"),
    [
        ("12", "knock_restricted", "knock_restricted"),
        ("9", "knock_restricted", "restricted"),
        ("7", "knock_restricted", "invite"),
        ("7", "restricted", "invite"),
        ("6", "knock", "invite"),
        ("6", "public", "public"),
    ],
)
async def test_a_join_rule_that_the_version_does_not_know(
    hospital: Hospital, version: str, rule: str, expected: str
) -> None:
    alice = await hospital.person()
    old = await alice.create_room()
    allow = [{"type": "m.room_membership", "room_id": old}]
    await alice.set_state(old, "m.room.join_rules", {"join_rule": rule, "allow": allow})
    new = await upgrade(alice, old, version)
    assert await alice.state(new, "m.room.join_rules") == {"join_rule": expected, "allow": allow}


async def test_members_of_the_old_room_may_join_where_the_rule_names_it(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    old = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await bob.join(old)
    allow = [{"type": "m.room_membership", "room_id": old}]
    await alice.set_state(old, "m.room.join_rules", {"join_rule": "restricted", "allow": allow})
    await bob.join(await upgrade(alice, old))


async def test_upgrades_that_are_refused(hospital: Hospital) -> None:
    alice, bob, stranger = [await hospital.person() for _ in range(3)]
    old = await alice.create_room()
    await bob.join(old)
    path = f"rooms/{old}/upgrade"
    before = await alice.history(old, limit=100)
    for person in (bob, stranger):
        await person.refused(403, "M_FORBIDDEN", "POST", path, {"new_version": "12"})
    await alice.refused(400, "M_UNSUPPORTED_ROOM_VERSION", "POST", path, {"new_version": "99"})
    await alice.refused(400, "M_MISSING_PARAM", "POST", path, {})
    await alice.refused(400, "M_BAD_JSON", "POST", path, {"new_version": 12})
    await alice.refused(400, "M_INVALID_PARAM", "POST", path, {"new_version": "12", "additional_creators": ["bob"]})
    await alice.refused(404, "M_NOT_FOUND", "POST", f"rooms/!unknown:{SERVER}/upgrade", {"new_version": "12"})
    after = await alice.history(old, limit=100)
    assert [event["event_id"] for event in after["chunk"]] == [event["event_id"] for event in before["chunk"]]
    for person in (alice, bob):
        assert await person.get("joined_rooms") == {"joined_rooms": [old]}


async def test_both_rooms_reach_a_waiting_sync_at_once(hospital: Hospital) -> None:
    alice = await hospital.person()
    old = await alice.create_room()
    since = (await alice.get("sync"))["next_batch"]
    waiting = asyncio.create_task(alice.get("sync", since=since, timeout=10_000))
    await asyncio.sleep(0.1)
    new = await upgrade(alice, old)
    rooms = (await waiting)["rooms"]["join"]
    assert rooms[old]["timeline"]["events"][0]["type"] == "m.room.tombstone"
    assert rooms[new]["timeline"]["events"][0]["type"] == "m.room.create"


async def test_the_same_request_makes_one_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    name = secrets.token_hex(5)
    old = await alice.create_room(room_version="11", room_alias_name=name)
    body = {"additional_creators": [bob.user_id, alice.user_id, bob.user_id]}
    first, *others = await asyncio.gather(*(upgrade(alice, old, "12", **body) for _ in range(3)))
    assert others == [first, first]
    assert (await alice.state(old, "m.room.tombstone"))["replacement_room"] == first
    assert (await alice.get(f"directory/room/%23{name}:{SERVER}"))["room_id"] == first
    assert (await alice.get("joined_rooms"))["joined_rooms"] == [old, first]
    other_creators, other_version = await upgrade(alice, old, "12"), await upgrade(alice, old, "11")
    assert len({first, other_creators, other_version}) == 3


async def test_large_spaces_are_upgraded(hospital: Hospital) -> None:
    alice = await hospital.person()
    old = await alice.create_room()
    children = [f"!{number}:{SERVER}" for number in range(550)]
    await asyncio.gather(*(alice.set_state(old, "m.space.child", {"via": [SERVER]}, child) for child in children))
    state = await alice.get(f"rooms/{await upgrade(alice, old)}/state")
    assert {event["state_key"] for event in state if event["type"] == "m.space.child"} == {*children}


async def test_upgrading_while_others_write(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    old = await alice.create_room(power_level_content_override={"users": {bob.user_id: 50}})
    await bob.join(old)
    *_, new = await asyncio.gather(*(bob.say(old, f"message {n}") for n in range(30)), upgrade(alice, old))
    assert (await alice.state(old, "m.room.tombstone"))["replacement_room"] == new
    assert (await alice.get("joined_rooms"))["joined_rooms"] == [old, new]


async def test_what_users_have_set_for_the_room_follows_them(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    old = await alice.create_room()
    await bob.join(old)
    for person in (alice, bob):
        mine = f"user/{person.user_id}"
        await person.put(f"{mine}/rooms/{old}/tags/u.ward", {"order": 0.5})
        await person.put(f"{mine}/account_data/m.direct", {"@x:y": [old], "@z:y": ["!other:y"]})
        await person.put(f"pushrules/global/room/{old}", {"actions": []})
    new = await upgrade(alice, old)
    await bob.join(new)
    for person in (alice, bob):
        mine = f"user/{person.user_id}"
        assert (await person.get(f"{mine}/rooms/{new}/tags"))["tags"] == {"u.ward": {"order": 0.5}}
        assert await person.get(f"{mine}/account_data/m.direct") == {"@x:y": [old, new], "@z:y": ["!other:y"]}
        assert (await person.get(f"pushrules/global/room/{new}"))["actions"] == []
        await person.get(f"pushrules/global/room/{old}")


async def test_what_users_have_taken_back_does_not_return_while_they_stay(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    old = await alice.create_room()
    await bob.join(old)
    await bob.put(f"user/{bob.user_id}/rooms/{old}/tags/u.ward", {})
    new = await upgrade(alice, old)
    await bob.join(new)
    await bob.expect(200, "DELETE", f"user/{bob.user_id}/rooms/{new}/tags/u.ward")
    await bob.put(f"user/{bob.user_id}/account_data/m.direct", {"@x:y": [old]})
    await bob.join(new)
    await bob.set_state(new, "m.room.member", {"membership": "join", "displayname": "Bob"}, bob.user_id)
    assert await bob.get(f"user/{bob.user_id}/account_data/m.direct") == {"@x:y": [old]}
    assert await bob.get(f"user/{bob.user_id}/rooms/{new}/tags") == {"tags": {}}


async def test_a_room_that_only_claims_to_replace_another_gets_nothing(hospital: Hospital) -> None:
    alice, mallory = await hospital.person(), await hospital.person()
    old = await alice.create_room()
    await alice.put(f"user/{alice.user_id}/rooms/{old}/tags/u.ward", {})
    for predecessor in ({"room_id": old, "event_id": "$x"}, {"room_id": 7}, {}, "x", None):
        room_id = await mallory.create_room(creation_content={"predecessor": predecessor})
        await alice.join(room_id)
        assert await alice.get(f"user/{alice.user_id}/rooms/{room_id}/tags") == {"tags": {}}
