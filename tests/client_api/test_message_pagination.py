"""`message_pagination.yaml` and `event_context.yaml`."""

import json
from typing import Any

import pytest

from tests.people import SERVER, Hospital, Person


async def chatty_room(person: Person, count: int = 10, **options: Any) -> str:
    """A room with messages "0", "1", …"""
    room_id = await person.create_room(**options)
    for number in range(count):
        await person.say(room_id, f"{number}")
    return room_id


async def test_paging_back_to_the_start(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await chatty_room(alice, 12)
    events: list[dict[str, Any]] = []
    query: dict[str, Any] = {"limit": 5}
    for _ in range(10):
        page = await alice.history(room_id, **query)
        assert len(page["chunk"]) <= 5
        assert query.get("from_") in (None, page["start"])
        events += page["chunk"]
        if "end" not in page:
            break
        query["from_"] = page["end"]
    texts = [event["content"]["body"] for event in events if event["type"] == "m.room.message"]
    assert texts == [f"{number}" for number in reversed(range(12))]
    assert events[-1]["type"] == "m.room.create"
    assert len({event["event_id"] for event in events}) == len(events)


async def test_paging_forward_from_the_start(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await chatty_room(alice)
    first = await alice.history(room_id, dir="f", limit=4)
    assert first["chunk"][0]["type"] == "m.room.create"
    rest = await alice.history(room_id, dir="f", limit=100, from_=first["end"])
    assert "end" not in rest
    assert [event["content"].get("body") for event in rest["chunk"]][-10:] == [f"{number}" for number in range(10)]


async def test_end_of_one_direction_is_a_start_of_the_other(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await chatty_room(alice)
    back = await alice.history(room_id, limit=3)
    forth = await alice.history(room_id, dir="f", limit=3, from_=back["end"])
    assert [event["event_id"] for event in forth["chunk"]] == [event["event_id"] for event in back["chunk"]][::-1]


async def test_paging_stops_at_a_token(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await chatty_room(alice)
    middle = (await alice.history(room_id, limit=6))["end"]
    assert await alice.bodies(room_id, to=middle, limit=100) == ["9", "8", "7", "6", "5", "4"]
    assert await alice.bodies(room_id, dir="f", to=middle, limit=100) == ["0", "1", "2", "3"]


async def test_limits(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await chatty_room(alice, 15)
    assert len((await alice.history(room_id))["chunk"]) == 10
    filtered = await alice.history(room_id, limit=8, filter=json.dumps({"limit": 2}))
    assert len(filtered["chunk"]) == 2
    path = f"rooms/{room_id}/messages"
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, dir="b", limit="many")
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, dir="sideways")
    await alice.refused(400, "M_MISSING_PARAM", "GET", path)
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, dir="b", from_="nonsense")
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, dir="b", filter="{")


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        ({"types": ["m.room.message"]}, {"text", "image"}),
        ({"types": ["m.room.*"], "not_types": ["m.room.message"]}, set()),
        ({"types": ["org.example_note"]}, set()),
        ({"types": ["org.*note"]}, {"note"}),
        ({"contains_url": True}, {"image"}),
        ({"contains_url": False, "types": ["m.room.message", "org.example.note"]}, {"text", "note"}),
        ({"not_rooms": ["ROOM"]}, set()),
    ],
)
async def test_filters(hospital: Hospital, definition: dict[str, Any], expected: set[str]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.say(room_id, "text")
    await alice.send(room_id, {"msgtype": "m.image", "body": "image", "url": f"mxc://{SERVER}/x"})
    await alice.send(room_id, {"body": "note"}, type="org.example.note")
    text = json.dumps(definition).replace("ROOM", room_id)
    assert set(await alice.bodies(room_id, filter=text, limit=100)) == expected


async def test_filter_of_senders(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    await alice.say(room_id, "from Alice")
    await bob.say(room_id, "from Bob")
    assert await alice.bodies(room_id, filter=json.dumps({"senders": [bob.user_id]})) == ["from Bob"]
    assert await alice.bodies(room_id, filter=json.dumps({"not_senders": [bob.user_id]})) == ["from Alice"]
    assert await alice.bodies(room_id, filter=json.dumps({"senders": []})) == []


async def test_members_are_loaded_lazily(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    for person in (bob, carol):
        await person.join(room_id)
    await bob.say(room_id, "Hello")
    lazy = json.dumps({"lazy_load_members": True, "types": ["m.room.message"]})
    page = await alice.history(room_id, filter=lazy)
    assert [event["state_key"] for event in page["state"]] == [bob.user_id]
    assert "state" not in await alice.history(room_id)


async def test_who_left_sees_nothing_later(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await chatty_room(alice, 2)
    await bob.join(room_id)
    await alice.say(room_id, "while Bob is here")
    await bob.leave(room_id)
    later = await alice.say(room_id, "after Bob left")
    page = await bob.history(room_id)
    assert page["chunk"][0]["content"]["membership"] == "leave"
    assert await bob.bodies(room_id) == ["while Bob is here", "1", "0"]
    newest = (await alice.history(room_id))["start"]
    assert "after Bob left" not in await bob.bodies(room_id, from_=newest)
    assert await alice.event(room_id, later)


async def test_history_from_before_a_join_that_is_not_shared(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room_id = await chatty_room(alice, 3, initial_state=state)
    await bob.join(room_id)
    await alice.say(room_id, "3")
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "shared"})
    assert await bob.bodies(room_id, limit=100) == ["3"]


async def test_hidden_history_is_not_paged_through(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room_id = await alice.create_room(initial_state=state)
    await bob.join(room_id)
    await bob.leave(room_id)
    for number in range(20):
        await alice.say(room_id, f"hidden {number}")
    await bob.join(room_id)
    await alice.say(room_id, "seen")
    for direction in ("b", "f"):
        texts, types, pages, token = [], [], 0, None
        while pages == 0 or token:
            page = await bob.history(room_id, dir=direction, limit=3, from_=token)
            texts += [event["content"].get("body") for event in page["chunk"] if "body" in event["content"]]
            types += [event["type"] for event in page["chunk"]]
            token, pages = page.get("end"), pages + 1
        assert texts == ["seen"]
        assert "m.room.create" in types  # before the first setting, the history is shared
        assert types.count("m.room.member") >= 3
        assert pages < 9


async def test_change_of_visibility_in_the_middle_is_not_skipped(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    for setting in ("joined", "world_readable", "joined"):
        await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": setting})
        for number in range(5):
            await alice.say(room_id, f"{setting} {number}")
    await bob.join(room_id)
    for direction in ("b", "f"):
        texts, token = set[str](), None
        for _ in range(30):
            page = await bob.history(room_id, dir=direction, limit=2, from_=token)
            texts |= {event["content"]["body"] for event in page["chunk"] if "body" in event["content"]}
            token = page.get("end")
            if token is None:
                break
        assert texts == {f"world_readable {number}" for number in range(5)}


async def test_unknown_room(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.refused(403, "M_FORBIDDEN", "GET", f"rooms/!unknown:{SERVER}/messages", dir="b")


async def test_context_around_an_event(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    ids = [await alice.say(room_id, f"{number}") for number in range(10)]
    context = await alice.get(f"rooms/{room_id}/context/{ids[5]}", limit=4)
    assert context["event"]["event_id"] == ids[5]
    assert [event["event_id"] for event in context["events_before"]] == [ids[4], ids[3]]
    assert [event["event_id"] for event in context["events_after"]] == [ids[6], ids[7]]
    assert {event["type"] for event in context["state"]} >= {"m.room.create", "m.room.member"}
    assert await alice.bodies(room_id, from_=context["start"], limit=2) == ["2", "1"]
    assert await alice.bodies(room_id, dir="f", from_=context["end"], limit=5) == ["8", "9"]


async def test_context_at_the_edges(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await chatty_room(alice, 2)
    create = (await alice.history(room_id, dir="f", limit=1))["chunk"][0]["event_id"]
    context = await alice.get(f"rooms/{room_id}/context/{create}", limit=3)
    assert context["events_before"] == []
    assert await alice.bodies(room_id, from_=context["start"]) == []
    alone = await alice.get(f"rooms/{room_id}/context/{create}", limit=0)
    assert (alone["events_before"], alone["events_after"]) == ([], [])
    await alice.refused(404, "M_NOT_FOUND", "GET", f"rooms/{room_id}/context/$unknown")
    await bob.refused(403, "M_FORBIDDEN", "GET", f"rooms/{room_id}/context/{create}")


async def test_context_has_the_state_at_its_last_event(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room(name="Before")
    event_id = await alice.say(room_id, "Hello")
    await alice.set_state(room_id, "m.room.name", {"name": "After"})
    for limit, name in ((0, "Before"), (2, "After")):
        context = await alice.get(f"rooms/{room_id}/context/{event_id}", limit=limit)
        names = [event["content"]["name"] for event in context["state"] if event["type"] == "m.room.name"]
        assert names == [name]


async def test_context_with_lazy_members_and_filter(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    for person in (bob, carol):
        await person.join(room_id)
    event_id = await bob.say(room_id, "Hello")
    lazy = json.dumps({"lazy_load_members": True})
    context = await alice.get(f"rooms/{room_id}/context/{event_id}", limit=0, filter=lazy)
    assert {e["state_key"] for e in context["state"] if e["type"] == "m.room.member"} == {bob.user_id}
    only = json.dumps({"types": ["m.room.create"]})
    context = await alice.get(f"rooms/{room_id}/context/{event_id}", limit=50, filter=only)
    assert context["event"]["event_id"] == event_id
    assert {event["type"] for event in (*context["events_before"], *context["state"])} == {"m.room.create"}
