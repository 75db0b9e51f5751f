"""`create_room.yaml`."""


from tests.people import Hospital


async def test_created_room_has_the_events_of_its_preset(hospital: Hospital) -> None:
    alice = await hospital.person(displayname="Alice")
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", topic="Rounds at eight")
    types = [event["type"] for event in (await alice.history(room_id, dir="f", limit=50))["chunk"]]
    assert types == [
        "m.room.create",
        "m.room.member",
        "m.room.power_levels",
        "m.room.join_rules",
        "m.room.history_visibility",
        "m.room.guest_access",
        "m.room.name",
        "m.room.topic",
    ]
    assert await alice.state(room_id, "m.room.join_rules") == {"join_rule": "invite"}
    member = await alice.state(room_id, "m.room.member", alice.user_id)
    assert member == {"membership": "join", "displayname": "Alice"}
