"""`rooms.yaml`: one event, state and members."""

from typing import Any

import pytest

from tests.people import SERVER, Hospital, Person


async def room_that_bob_left(alice: Person, bob: Person, **options: Any) -> str:
    """A room whose name changed after Bob left."""
    room_id = await alice.create_room(name="Before", **options)
    await bob.join(room_id)
    await bob.leave(room_id)
    await alice.set_state(room_id, "m.room.name", {"name": "After"})
    await alice.set_state(room_id, "m.room.topic", {"topic": "After"})
    return room_id


async def test_event_has_the_form_of_the_specification(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.send(room_id, {"n": [1, {"ü": None}], "text": "a\u2028b"}, type="org.example.note")
    await bob.join(room_id)
    event = await bob.event(room_id, event_id)
    unsigned = event.pop("unsigned")
    timestamp = event.pop("origin_server_ts")
    assert event == {
        "type": "org.example.note",
        "room_id": room_id,
        "sender": alice.user_id,
        "event_id": event_id,
        "content": {"n": [1, {"ü": None}], "text": "a\u2028b"},
    }
    assert timestamp > 1_600_000_000_000
    assert 0 <= unsigned.pop("age") < 60_000
    assert unsigned == {"membership": "leave", "io.element.msc4115.membership": "leave"}


async def test_membership_of_the_reader_at_the_event(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    await alice.say(room_id, "Hello")
    events = (await bob.history(room_id, dir="f", limit=50))["chunk"]
    told = [(event["type"], event["unsigned"]["membership"]) for event in events]
    assert told[-2:] == [("m.room.member", "join"), ("m.room.message", "join")]
    assert {membership for _, membership in told[:-2]} == {"leave"}


async def test_replaced_state_is_told(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first = await alice.set_state(room_id, "m.room.topic", {"topic": "One"})
    second = await alice.set_state(room_id, "m.room.topic", {"topic": "Two"})
    unsigned = (await alice.event(room_id, second))["unsigned"]
    assert unsigned["replaces_state"] == first
    assert unsigned["prev_content"] == {"topic": "One"}
    assert unsigned["prev_sender"] == alice.user_id
    assert "replaces_state" not in (await alice.event(room_id, first))["unsigned"]


async def test_replaced_content_is_told_only_to_who_may_see_it(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    visibility = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room_id = await alice.create_room(initial_state=visibility)
    first = await alice.set_state(room_id, "m.room.topic", {"topic": "Before Bob"})
    await bob.join(room_id)
    second = await alice.set_state(room_id, "m.room.topic", {"topic": "With Bob"})
    unsigned = (await bob.event(room_id, second))["unsigned"]
    assert unsigned["replaces_state"] == first
    assert "prev_content" not in unsigned


async def test_events_that_are_not_there_or_not_to_be_seen(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    event_id = await alice.say(room_id, "Hello")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"rooms/{other}/event/{event_id}")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"rooms/{room_id}/event/$unknown")
    await bob.refused(404, "M_NOT_FOUND", "GET", f"rooms/{room_id}/event/{event_id}")
    await bob.refused(404, "M_NOT_FOUND", "GET", f"rooms/!unknown:{SERVER}/event/{event_id}")


@pytest.mark.parametrize(
    ("visibility", "seen"),
    [
        ("world_readable", {"before invite", "invited", "joined", "after leaving"}),
        ("shared", {"before invite", "invited", "joined"}),
        ("invited", {"invited", "joined"}),
        ("joined", {"joined"}),
    ],
)
async def test_history_visibility(hospital: Hospital, visibility: str, seen: set[str]) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}]
    room_id = await alice.create_room(preset="private_chat", initial_state=state)
    ids = {"before invite": await alice.say(room_id, "before invite")}
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    ids["invited"] = await alice.say(room_id, "invited")
    await bob.join(room_id)
    ids["joined"] = await alice.say(room_id, "joined")
    await bob.leave(room_id)
    ids["after leaving"] = await alice.say(room_id, "after leaving")
    shown = {text for text, event_id in ids.items() if await can_see(bob, room_id, event_id)}
    assert shown == seen
    assert set(await bob.bodies(room_id, limit=50)) == seen


async def can_see(person: Person, room_id: str, event_id: str) -> bool:
    status, _ = await person.request("GET", f"rooms/{room_id}/event/{event_id}")
    return status == 200


async def test_state_of_who_never_joined(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    for path in ("state", "state/m.room.create/", "state/m.room.nothing", "members", "joined_members"):
        await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/{path}")
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/messages", dir="b")
    await bob.leave(room_id)
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/state")


async def test_world_readable_state_is_for_everybody(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}]
    room_id = await alice.create_room(name="Open", initial_state=state)
    assert await bob.state(room_id, "m.room.name") == {"name": "Open"}
    await alice.say(room_id, "Welcome")
    assert await bob.bodies(room_id) == ["Welcome"]
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/joined_members")


async def test_state_is_that_of_leaving(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await room_that_bob_left(alice, bob)
    assert await alice.state(room_id, "m.room.name") == {"name": "After"}
    assert await bob.state(room_id, "m.room.name") == {"name": "Before"}
    assert (await bob.state(room_id, "m.room.member", bob.user_id))["membership"] == "leave"
    await bob.refused(404, "M_NOT_FOUND", "GET", f"rooms/{room_id}/state/m.room.topic")
    names = [e["content"] for e in await bob.get(f"rooms/{room_id}/state") if e["type"] == "m.room.name"]
    assert names == [{"name": "Before"}]


async def test_state_of_who_was_kicked_and_invited_again_is_that_of_the_kick(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(name="Before")
    await bob.join(room_id)
    await alice.post(f"rooms/{room_id}/kick", {"user_id": bob.user_id})
    await alice.set_state(room_id, "m.room.name", {"name": "After"})
    await alice.post(f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    assert await bob.state(room_id, "m.room.name") == {"name": "Before"}


async def test_state_in_all_forms(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(name="Ward 3")
    event_id = await alice.set_state(room_id, "m.room.topic", {"topic": "Rounds"})
    path = f"rooms/{room_id}/state/m.room.topic"
    assert await alice.get(path) == await alice.get(f"{path}/") == {"topic": "Rounds"}
    event = await alice.get(path, format="event")
    assert (event["event_id"], event["state_key"], event["room_id"]) == (event_id, "", room_id)
    assert await alice.get(path, format="content") == {"topic": "Rounds"}
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, format="pdu")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{path}/key")
    whole = await alice.get(f"rooms/{room_id}/state")
    assert {"m.room.create", "m.room.member", "m.room.topic"} <= {event["type"] for event in whole}
    assert all(event["room_id"] == room_id and "state_key" in event for event in whole)


async def test_joined_members_with_names_as_far_as_the_member_events_have_them(hospital: Hospital) -> None:
    alice = await hospital.person(displayname="Alice \U0001fa7a", avatar_url=f"mxc://{SERVER}/alice")
    bob, carol, dave = await hospital.person(displayname="Bob"), await hospital.person(), await hospital.person()
    room_id = await alice.create_room(invite=[dave.user_id])
    for person in (bob, carol):
        await person.join(room_id)
    odd = {"membership": "join", "displayname": 7, "avatar_url": None}
    await carol.set_state(room_id, "m.room.member", odd, carol.user_id)
    expected = {
        alice.user_id: {"display_name": "Alice \U0001fa7a", "avatar_url": f"mxc://{SERVER}/alice"},
        bob.user_id: {"display_name": "Bob"},
        carol.user_id: {},
    }
    assert await alice.get(f"rooms/{room_id}/joined_members") == {"joined": expected}
    event = await alice.get(f"rooms/{room_id}/state/m.room.member/{bob.user_id}", format="event")
    await alice.put(f"rooms/{room_id}/redact/{event['event_id']}/1", {})
    assert await alice.get(f"rooms/{room_id}/joined_members") == {"joined": {**expected, bob.user_id: {}}}
    await bob.leave(room_id)
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/joined_members")


async def test_members_by_membership(hospital: Hospital) -> None:
    alice, bob, carol, dave = [await hospital.person() for _ in range(4)]
    room_id = await alice.create_room(invite=[carol.user_id])
    await bob.join(room_id)
    await alice.post(f"rooms/{room_id}/ban", {"user_id": dave.user_id})

    async def members(**query: str) -> set[str]:
        chunk = (await alice.get(f"rooms/{room_id}/members", **query))["chunk"]
        return {event["state_key"] for event in chunk}

    everybody = {person.user_id for person in (alice, bob, carol, dave)}
    assert await members() == everybody
    assert await members(membership="join") == {alice.user_id, bob.user_id}
    assert await members(not_membership="ban") == everybody - {dave.user_id}
    assert await members(membership="ban", not_membership="join") == {carol.user_id, dave.user_id}
    await alice.refused(400, "M_INVALID_PARAM", "GET", f"rooms/{room_id}/members", membership="guest")


async def test_members_at_a_token_and_at_leaving(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    before = (await alice.history(room_id))["start"]
    await bob.join(room_id)
    await bob.leave(room_id)
    await carol.join(room_id)

    async def members(person: Person, **query: str) -> dict[str, str]:
        chunk = (await person.get(f"rooms/{room_id}/members", **query))["chunk"]
        return {event["state_key"]: event["content"]["membership"] for event in chunk}

    assert await members(alice, at=before) == {alice.user_id: "join"}
    assert await members(alice) == {alice.user_id: "join", bob.user_id: "leave", carol.user_id: "join"}
    assert await members(bob) == {alice.user_id: "join", bob.user_id: "leave"}
    await alice.refused(400, "M_INVALID_PARAM", "GET", f"rooms/{room_id}/members", at="yesterday")


async def test_members_of_a_time_that_is_hidden_are_not_told(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    visibility = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room_id = await alice.create_room(initial_state=visibility)
    await carol.join(room_id)
    before = (await alice.get("sync"))["next_batch"]
    await carol.leave(room_id)
    await bob.join(room_id)
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/members", at=before)
    since = (await bob.get("sync"))["next_batch"]
    await bob.leave(room_id)
    assert len((await bob.get(f"rooms/{room_id}/members", at=since))["chunk"]) == 3


async def test_joined_members(hospital: Hospital) -> None:
    alice = await hospital.person(displayname="Alice", avatar_url=f"mxc://{SERVER}/alice")
    bob, carol = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(invite=[carol.user_id])
    await bob.join(room_id)
    assert await bob.get(f"rooms/{room_id}/joined_members") == {
        "joined": {
            alice.user_id: {"display_name": "Alice", "avatar_url": f"mxc://{SERVER}/alice"},
            bob.user_id: {},
        }
    }
    await bob.leave(room_id)
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/joined_members")
