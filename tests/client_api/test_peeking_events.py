"""`peeking_events.yaml`: `/events` of one room."""

import asyncio

from tests.people import Hospital, Person

WORLD_READABLE = {"history_visibility": "world_readable"}


async def glass_room(person: Person) -> str:
    """A room that everybody may look into."""
    room_id = await person.create_room()
    await person.set_state(room_id, "m.room.history_visibility", WORLD_READABLE)
    return room_id


async def test_who_is_not_in_the_room_sees_what_happens_there(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await glass_room(alice)
    since = (await bob.get("events", room_id=room_id))["end"]
    waiting = asyncio.create_task(bob.get("events", room_id=room_id, from_=since, timeout=20_000))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    event_id = await alice.say(room_id, "hello")
    page = await asyncio.wait_for(waiting, 5)
    assert [(event["event_id"], event["room_id"]) for event in page["chunk"]] == [(event_id, room_id)]
    assert (await bob.get("events", room_id=room_id, from_=page["end"]))["chunk"] == []


async def test_a_snapshot_is_followed_by_what_happens_after_it(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await glass_room(alice)
    since = (await bob.get(f"rooms/{room_id}/initialSync"))["messages"]["end"]
    event_id = await alice.say(room_id, "hello")
    page = await bob.get("events", room_id=room_id, from_=since)
    assert [event["event_id"] for event in page["chunk"]] == [event_id]


async def test_members_get_the_room_s_share_of_their_events(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    since = (await alice.get("events"))["end"]
    event_id = await alice.say(room_id, "hello")
    await alice.say(other, "elsewhere")
    page = await alice.get("events", room_id=room_id, from_=since)
    assert [event.get("event_id") for event in page["chunk"]] == [event_id]


async def test_a_room_that_is_closed_meanwhile_tells_no_more(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await glass_room(alice)
    since = (await bob.get("events", room_id=room_id))["end"]
    waiting = asyncio.create_task(bob.request("GET", "events", room_id=room_id, from_=since, timeout=20_000))
    await asyncio.sleep(0.1)
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    assert (await asyncio.wait_for(waiting, 5))[0] == 403


async def test_other_rooms_are_refused(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.refused(403, "M_FORBIDDEN", "GET", "events", room_id=room_id)
    await bob.refused(403, "M_FORBIDDEN", "GET", "events", room_id="!unheard-of:hospital.example")
    await bob.refused(400, "M_INVALID_PARAM", "GET", "events", room_id="nonsense")
