"""First syncs: everything that a client needs to begin."""

import asyncio

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids, keys

CREATION = {
    ("m.room.create", ""),
    ("m.room.member", ALICE),
    ("m.room.power_levels", ""),
    ("m.room.join_rules", ""),
}


async def test_a_new_room_fits_into_its_timeline(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    sent = await rooms.send(room_id, ALICE)
    told = await device(ALICE).joined(room_id)
    assert keys({"timeline": {"events": told["timeline"]["events"][:4]}}, "timeline") == CREATION
    assert ids(told)[4:] == [sent]
    assert told["state"] == {"events": []}
    assert told["timeline"]["limited"] is False
    assert "prev_batch" not in told["timeline"]


async def test_a_long_timeline_is_limited_and_begins_after_the_state(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    sent = [await rooms.send(room_id, ALICE) for _ in range(12)]
    told = await device(ALICE).joined(room_id)
    assert ids(told) == sent[-10:]
    assert told["timeline"]["limited"] is True
    assert told["timeline"]["prev_batch"].startswith("t")
    assert keys(told) == CREATION


async def test_the_state_is_that_of_the_start_of_the_timeline(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    before = await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "before"})
    filled = [await rooms.send(room_id, ALICE) for _ in range(3)]
    within = await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "within"})
    told = await device(ALICE, filter={"room": {"timeline": {"limit": 2}}}).joined(room_id)
    assert ids(told) == [filled[-1], within]
    assert before in ids(told, "state")
    assert within not in ids(told, "state")


async def test_state_after_is_that_of_the_end_of_the_timeline(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    before = await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "before"})
    within = await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "within"})
    told = await device(ALICE, state_after=True).joined(room_id)
    assert "state" not in told
    assert within in ids(told, "state_after")
    assert before not in ids(told, "state_after")
    assert keys(told, "state_after") == {*CREATION, ("m.room.topic", "")}


async def test_an_answer_always_has_key_counts(rooms: Rooms, device: MakeDevice) -> None:
    answer = await device(ALICE).next()
    assert answer["device_one_time_keys_count"] == {"signed_curve25519": 0}
    assert answer["device_unused_fallback_key_types"] == []


async def test_default_push_rules_are_told(device: MakeDevice) -> None:
    answer = await device(ALICE).next()
    rules = {event["type"]: event["content"] for event in answer["account_data"]["events"]}
    assert rules["m.push_rules"]["global"]["underride"]


async def test_the_summary_counts_members_and_names_heroes(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    told = await device(ALICE).joined(room_id)
    assert told["summary"] == {"m.heroes": [BOB], "m.joined_member_count": 2, "m.invited_member_count": 0}


async def test_a_room_with_a_name_has_no_heroes(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward 3"})
    told = await device(ALICE).joined(room_id)
    assert told["summary"] == {"m.joined_member_count": 2, "m.invited_member_count": 0}


async def test_unsigned_tells_the_own_membership_and_the_age(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    told = await device(BOB).joined(room_id)
    memberships = [event["unsigned"]["membership"] for event in told["timeline"]["events"]]
    assert memberships == ["leave", "leave", "leave", "leave", "join"]
    assert all(event["unsigned"]["age"] >= 0 for event in told["timeline"]["events"])


async def test_the_own_transaction_id_is_told_to_the_device_that_used_it(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    await rooms.send(room_id, ALICE, txn_id="once")
    told = await device(ALICE).joined(room_id)
    assert told["timeline"]["events"][-1]["unsigned"]["transaction_id"] == "once"
    other = await device(ALICE, device_id="OTHER").joined(room_id)
    assert "transaction_id" not in other["timeline"]["events"][-1]["unsigned"]


async def test_rooms_that_were_left_are_told_only_if_asked_for(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    left = await rooms.member(room_id, BOB, "leave")
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "later"})
    assert room_id not in (await device(BOB).next()).get("rooms", {}).get("leave", {})
    answer = await device(BOB, filter={"room": {"include_leave": True, "timeline": {"limit": 1}}}).next()
    told = answer["rooms"]["leave"][room_id]
    assert ids(told) == [left]
    assert keys(told) == {*CREATION, ("m.room.member", BOB)}


async def test_equal_first_syncs_share_one_answer(device: MakeDevice) -> None:
    answers = await asyncio.gather(*(device(ALICE).ask() for _ in range(3)), device(ALICE, device_id="OTHER").ask())
    assert answers[0] == answers[1] == answers[2]
