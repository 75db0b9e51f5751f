"""`room_event_by_timestamp.yaml`: the event that is nearest to a time."""

import asyncio
from typing import Any

import pytest

from tests.people import Hospital, Person
from tim_server.storage.timeline import NEAREST_MAX

FAR = 2**52


async def nearest(person: Person, room_id: str, ts: int, direction: str) -> str:
    path = f"/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"
    return str((await person.get(path, ts=ts, dir=direction))["event_id"])


async def messages_apart(person: Person, room_id: str, count: int) -> list[dict[str, Any]]:
    """Messages, each sent in a millisecond of its own."""
    events = []
    for number in range(count):
        await asyncio.sleep(0.005)
        events.append(await person.event(room_id, await person.say(room_id, f"message {number}")))
    return events


async def test_the_nearest_event_in_each_direction(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first, second, third = await messages_apart(alice, room_id, 3)
    ts = second["origin_server_ts"]
    assert await nearest(alice, room_id, ts, "f") == second["event_id"]
    assert await nearest(alice, room_id, ts, "b") == second["event_id"]
    assert await nearest(alice, room_id, ts + 1, "f") == third["event_id"]
    assert await nearest(alice, room_id, ts - 1, "b") == first["event_id"]
    assert await nearest(alice, room_id, FAR, "b") == third["event_id"]
    create = (await alice.history(room_id, dir="f", limit=1))["chunk"][0]
    assert await nearest(alice, room_id, 0, "f") == create["event_id"]
    answer = await alice.get(f"/_matrix/client/v1/rooms/{room_id}/timestamp_to_event", ts=ts, dir="f")
    assert answer == {"event_id": second["event_id"], "origin_server_ts": ts}


async def test_no_event_in_that_direction(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"
    await alice.refused(404, "M_NOT_FOUND", "GET", path, ts=FAR, dir="f")
    await alice.refused(404, "M_NOT_FOUND", "GET", path, ts=0, dir="b")


async def test_events_that_the_user_may_not_see_are_passed_over(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    (hidden,) = await messages_apart(alice, room_id, 1)
    for _ in range(NEAREST_MAX):
        await alice.say(room_id, "hidden")
    path = f"/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"
    await bob.refused(403, "M_FORBIDDEN", "GET", path, ts=0, dir="f")
    await bob.join(room_id)
    (seen,) = await messages_apart(alice, room_id, 1)
    await bob.leave(room_id)
    await messages_apart(alice, room_id, 1)
    from_start = await nearest(bob, room_id, hidden["origin_server_ts"], "f")
    assert (await bob.event(room_id, from_start))["type"] == "m.room.member"
    left = await nearest(bob, room_id, FAR, "b")
    assert (await bob.event(room_id, left))["content"]["membership"] == "leave"
    assert await nearest(bob, room_id, seen["origin_server_ts"], "b") == seen["event_id"]


async def test_the_nearest_of_several_times_in_the_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden: list[dict[str, Any]] = []
    for _ in range(2):
        hidden += await messages_apart(alice, room_id, 1)
        await asyncio.gather(*(alice.say(room_id, "hidden") for _ in range(NEAREST_MAX)))
        await bob.join(room_id)
        await messages_apart(alice, room_id, 1)
        await bob.leave(room_id)
    await asyncio.gather(*(alice.say(room_id, "hidden") for _ in range(NEAREST_MAX)))
    between = hidden[1]["origin_server_ts"]
    for ts, direction, membership in (
        (hidden[0]["origin_server_ts"], "f", "join"),
        (between, "f", "join"),
        (between, "b", "leave"),
        (FAR, "b", "leave"),
    ):
        event = await bob.event(room_id, await nearest(bob, room_id, ts, direction))
        assert event["content"]["membership"] == membership
        assert (event["origin_server_ts"] >= ts) if direction == "f" else (event["origin_server_ts"] <= ts)


@pytest.mark.parametrize(
    "query", [{"ts": 1}, {"dir": "f"}, {"ts": "x", "dir": "f"}, {"ts": 1, "dir": "up"}, {"ts": 2**63, "dir": "f"}]
)
async def test_queries_of_the_wrong_form(hospital: Hospital, query: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"
    answer = await alice.expect(400, "GET", path, **query)
    assert answer["errcode"] in ("M_INVALID_PARAM", "M_MISSING_PARAM")
