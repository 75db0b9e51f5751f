"""`room_initial_sync.yaml`."""

from tests.people import Hospital


async def test_members_get_state_messages_and_account_data(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(topic="Ward 3")
    await bob.join(room_id)
    sent = [await alice.say(room_id, f"text {number}") for number in range(3)]
    await alice.put(f"user/{alice.user_id}/rooms/{room_id}/account_data/org.example.room", {"b": 2})
    room = await alice.get(f"rooms/{room_id}/initialSync", limit=2)
    assert (room["room_id"], room["membership"], room["visibility"]) == (room_id, "join", "private")
    assert [event["event_id"] for event in room["messages"]["chunk"]] == sent[-2:]
    assert {"m.room.create", "m.room.topic"} <= {event["type"] for event in room["state"]}
    assert room["account_data"] == [{"type": "org.example.room", "content": {"b": 2}}]
    assert await alice.bodies(room_id, from_=room["messages"]["start"], limit=1) == ["text 0"]


async def test_without_messages(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    assert (await alice.get(f"rooms/{room_id}/initialSync", limit=0))["messages"]["chunk"] == []


async def test_who_has_left_gets_the_room_as_it_was(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(topic="before")
    await bob.join(room_id)
    await alice.say(room_id, "for Bob")
    await bob.leave(room_id)
    await alice.set_state(room_id, "m.room.topic", {"topic": "after"})
    await alice.say(room_id, "not for Bob")
    room = await bob.get(f"rooms/{room_id}/initialSync")
    assert room["membership"] == "leave"
    assert [event["content"]["topic"] for event in room["state"] if event["type"] == "m.room.topic"] == ["before"]
    assert [event["content"]["body"] for event in room["messages"]["chunk"] if "body" in event["content"]] == [
        "for Bob"
    ]
    assert (room["presence"], room["receipts"]) == ([], [])


async def test_a_world_readable_room_is_shown_to_everybody_and_others_to_nobody(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/initialSync")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "world_readable"})
    event_id = await alice.say(room_id, "hello")
    for limit in (0, 1):
        room = await bob.get(f"rooms/{room_id}/initialSync", limit=limit)
        assert [event["event_id"] for event in room["messages"]["chunk"]] == [event_id] * limit
        assert "m.room.create" in {event["type"] for event in room["state"]}


async def test_who_is_invited_is_refused(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/initialSync")
