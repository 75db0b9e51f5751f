"""`room_send.yaml` and `room_state.yaml`."""

import asyncio
from typing import Any

import pytest

from tests.people import SERVER, Hospital

TEXT = {"msgtype": "m.text", "body": "Hello"}


async def test_message_reaches_the_others(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await alice.say(room_id, "Good morning")
    event = await bob.event(room_id, event_id)
    assert event["sender"] == alice.user_id
    assert event["content"] == {"msgtype": "m.text", "body": "Good morning"}
    assert "state_key" not in event


async def test_repeated_transaction_makes_one_event(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/send/m.room.message/one"
    answers = await asyncio.gather(*(alice.put(path, TEXT) for _ in range(5)))
    answers.append(await alice.put(path, {**TEXT, "body": "Changed"}))
    assert len({answer["event_id"] for answer in answers}) == 1
    assert await alice.bodies(room_id) == ["Hello"]


async def test_transaction_belongs_to_room_type_and_device(hospital: Hospital) -> None:
    alice = await hospital.person()
    first, second = await alice.create_room(), await alice.create_room()
    ids = [
        await alice.send(first, TEXT, txn_id="one"),
        await alice.send(second, TEXT, txn_id="one"),
        await alice.send(first, TEXT, type="org.example.note", txn_id="one"),
    ]
    assert len(set(ids)) == 3


async def test_transaction_id_is_told_to_the_device_that_used_it(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await alice.send(room_id, TEXT, txn_id="m.1/2 3")
    assert (await alice.event(room_id, event_id))["unsigned"]["transaction_id"] == "m.1/2 3"
    assert "transaction_id" not in (await bob.event(room_id, event_id))["unsigned"]


async def test_who_is_not_joined_cannot_send(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/send/m.room.message/1", TEXT)
    await bob.refused(404, "M_NOT_FOUND", "PUT", f"rooms/!unknown:{SERVER}/send/m.room.message/1", TEXT)
    await bob.join(room_id)
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/state/m.room.name/", {"name": "Mine"})
    assert await alice.bodies(room_id) == []


@pytest.mark.parametrize("version", ["1", "11", "12"])
@pytest.mark.parametrize(
    "body",
    ['{"n": 1.5}', '{"n": 9007199254740992}', '{"n": -9007199254740992}', '{"n": 1e3}', '{"n": {"deep": [0.1]}}'],
)
async def test_numbers_that_canonical_json_cannot_hold_are_refused(hospital: Hospital, version: str, body: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(room_version=version)
    await alice.refused(400, "M_BAD_JSON", "PUT", f"rooms/{room_id}/send/org.example.number/1", body)
    await alice.refused(400, "M_BAD_JSON", "PUT", f"rooms/{room_id}/state/org.example.number/", body)


async def test_event_that_is_too_large(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/send/m.room.message"
    await alice.refused(413, "M_TOO_LARGE", "PUT", f"{path}/1", {**TEXT, "body": "x" * 65_536})
    await alice.put(f"{path}/2", {**TEXT, "body": "x" * 64_000})


async def test_long_type_and_state_key(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.put(f"rooms/{room_id}/state/org.example/{'k' * 255}", {})
    await alice.refused(413, "M_TOO_LARGE", "PUT", f"rooms/{room_id}/state/org.example/{'k' * 256}", {})
    await alice.refused(413, "M_TOO_LARGE", "PUT", f"rooms/{room_id}/send/{'t' * 256}/1", {})


@pytest.mark.parametrize("content", [{}, {"body": "x"}, {"msgtype": "m.text"}, {"msgtype": 1, "body": "x"}])
async def test_message_without_type_or_body_is_refused(hospital: Hospital, content: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(400, "M_BAD_JSON", "PUT", f"rooms/{room_id}/send/m.room.message/1", content)


async def test_identical_state_is_not_sent_again(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    levels = {"users": {alice.user_id: 100, bob.user_id: 100}}
    room_id = await alice.create_room(room_version="11", power_level_content_override=levels)
    await bob.join(room_id)
    first = await alice.set_state(room_id, "m.room.name", {"name": "Ward 3"})
    assert await alice.set_state(room_id, "m.room.name", {"name": "Ward 3"}) == first
    other = await bob.set_state(room_id, "m.room.name", {"name": "Ward 3"})
    assert other != first
    assert await alice.set_state(room_id, "m.room.name", {"name": "Ward 4"}) != other


async def test_state_path_without_a_key(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    for number, path in enumerate(("m.room.topic", "m.room.topic/")):
        await alice.put(f"rooms/{room_id}/state/{path}", {"topic": f"{number}"})
        assert await alice.get(f"rooms/{room_id}/state/{path}") == {"topic": f"{number}"}


async def test_state_of_a_user_is_theirs(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.set_state(room_id, "org.example.mood", {"mood": "calm"}, alice.user_id)
    path = f"rooms/{room_id}/state/org.example.mood/{bob.user_id}"
    await alice.refused(403, "M_FORBIDDEN", "PUT", path, {"mood": "tired"})


@pytest.mark.parametrize(
    "levels", [{"ban": "50"}, {"users": []}, {"events": {"m.room.name": None}}, {"state_default": True}]
)
async def test_bad_power_levels_change_nothing(hospital: Hospital, levels: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    before = await alice.state(room_id, "m.room.power_levels")
    await alice.refused(400, "M_BAD_JSON", "PUT", f"rooms/{room_id}/state/m.room.power_levels/", levels)
    assert await alice.state(room_id, "m.room.power_levels") == before


async def test_power_beyond_ones_own_cannot_be_given(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    levels = {"users": {alice.user_id: 100, bob.user_id: 60}, "events": {"m.room.power_levels": 60}}
    room_id = await alice.create_room(room_version="11", power_level_content_override=levels)
    await bob.join(room_id)
    content = await bob.state(room_id, "m.room.power_levels")
    path = f"rooms/{room_id}/state/m.room.power_levels/"
    await bob.refused(403, "M_FORBIDDEN", "PUT", path, {**content, "users": {**content["users"], bob.user_id: 100}})


@pytest.mark.parametrize("content", [{}, {"membership": "guest"}, {"membership": 1}])
async def test_member_without_a_membership_is_refused(hospital: Hospital, content: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/state/m.room.member/{alice.user_id}"
    await alice.refused(400, "M_BAD_JSON", "PUT", path, content)
    await alice.refused(400, "M_INVALID_PARAM", "PUT", f"rooms/{room_id}/state/m.room.member/x", {"membership": "join"})


async def test_a_room_is_not_its_own_replacement(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    content = {"body": "x", "replacement_room": room_id}
    for path in ("state/m.room.tombstone", "send/m.room.tombstone/1"):
        await alice.refused(400, "M_INVALID_PARAM", "PUT", f"rooms/{room_id}/{path}", content)


@pytest.mark.parametrize("content", [{}, {"algorithm": ""}, {"algorithm": 1}])
async def test_encryption_has_an_algorithm(hospital: Hospital, content: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(400, "M_BAD_JSON", "PUT", f"rooms/{room_id}/state/m.room.encryption", content)
    state = [{"type": "m.room.encryption", "content": content}]
    await alice.refused(400, "M_BAD_JSON", "POST", "createRoom", {"initial_state": state})


async def test_canonical_alias_must_point_to_the_room(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(room_alias_name=f"ward-{alice.device_id.lower()}")
    other = f"#other-{alice.device_id.lower()}:{SERVER}"
    await alice.create_room(room_alias_name=other[1:].partition(":")[0])
    path = f"rooms/{room_id}/state/m.room.canonical_alias/"
    own = (await alice.state(room_id, "m.room.canonical_alias"))["alias"]
    await alice.refused(400, "M_BAD_ALIAS", "PUT", path, {"alias": own, "alt_aliases": [other]})
    await alice.refused(400, "M_BAD_ALIAS", "PUT", path, {"alias": f"#nowhere:{SERVER}"})
    await alice.refused(400, "M_INVALID_PARAM", "PUT", path, {"alias": "no alias"})
    await alice.refused(400, "M_BAD_JSON", "PUT", path, {"alt_aliases": own})
    await alice.set_state(room_id, "m.room.canonical_alias", {"alt_aliases": [own]})
    await alice.expect(200, "DELETE", f"directory/room/{own.replace('#', '%23')}")
    assert await alice.state(room_id, "m.room.canonical_alias") == {"alt_aliases": []}
