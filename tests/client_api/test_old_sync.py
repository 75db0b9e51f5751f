"""`old_sync.yaml`, and `peeking_events.yaml`, which shares a path with it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.people import Hospital, Person, run_hospital


async def now(person: Person, **query: Any) -> str:
    """The token of this moment."""
    return str((await person.get("events", **query))["end"])


async def test_events_tell_what_happens_in_rooms_from_a_token_on(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    since = await now(bob)
    await bob.join(room_id)
    event_id = await alice.say(room_id, "hello")
    await bob.put(f"user/{bob.user_id}/account_data/org.example.global", {"a": 1})
    await bob.put(f"user/{bob.user_id}/rooms/{room_id}/account_data/org.example.room", {"b": 2})
    page = await bob.get("events", from_=since)
    assert page["start"] == since
    assert [event["event_id"] for event in page["chunk"] if event["type"] == "m.room.message"] == [event_id]
    assert {event["room_id"] for event in page["chunk"] if "event_id" in event} == {room_id}
    assert {"type": "org.example.global", "content": {"a": 1}} in page["chunk"]
    assert {"type": "org.example.room", "content": {"b": 2}, "room_id": room_id} in page["chunk"]
    assert "m.room.message" not in {event["type"] for event in (await bob.get("events", from_=page["end"]))["chunk"]}


async def test_events_without_a_token_begin_now_and_wait(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    since = await now(alice)
    waiting = asyncio.create_task(alice.get("events", from_=since, timeout=20_000))
    await asyncio.sleep(0.1)
    event_id = await alice.say(room_id, "hello")
    page = await asyncio.wait_for(waiting, 5)
    assert [event.get("event_id") for event in page["chunk"] if event["type"] == "m.room.message"] == [event_id]


async def test_an_invite_comes_as_a_whole_event(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    since = await now(bob)
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    (event,) = [event for event in (await bob.get("events", from_=since))["chunk"] if event["type"] == "m.room.member"]
    assert (event["room_id"], event["state_key"], event["content"]["membership"]) == (room_id, bob.user_id, "invite")
    assert event["event_id"]


async def test_receipts_and_typing_are_told(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id, since = await alice.say(room_id, "hello"), await now(alice)
    await bob.post(f"rooms/{room_id}/receipt/m.read/{event_id}")
    await bob.put(f"rooms/{room_id}/typing/{bob.user_id}", {"typing": True})
    told = {event["type"]: event for event in (await alice.get("events", from_=since))["chunk"]}
    assert told["m.receipt"]["room_id"] == told["m.typing"]["room_id"] == room_id


async def test_the_initial_sync_tells_of_each_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(visibility="public", preset="public_chat", topic="Ward 3")
    sent = [await alice.say(room_id, f"text {number}") for number in range(5)]
    await alice.put(f"user/{alice.user_id}/account_data/org.example.global", {"a": 1})
    await alice.post(f"rooms/{room_id}/receipt/m.read/{sent[0]}")
    invited = await bob.create_room(preset="private_chat", invite=[alice.user_id])
    answer = await alice.get("initialSync", limit=2)
    rooms = {room["room_id"]: room for room in answer["rooms"]}
    room = rooms[room_id]
    assert (room["membership"], room["visibility"]) == ("join", "public")
    assert [event["event_id"] for event in room["messages"]["chunk"]] == sent[-2:]
    assert {event["room_id"] for event in [*room["messages"]["chunk"], *room["state"]]} == {room_id}
    assert {"m.room.create", "m.room.topic"} <= {event["type"] for event in room["state"]}
    assert await alice.bodies(room_id, from_=room["messages"]["start"], limit=1) == ["text 2"]
    assert (rooms[invited]["membership"], rooms[invited]["visibility"]) == ("invite", "private")
    assert rooms[invited]["invite"]["content"]["membership"] == "invite"
    assert answer["account_data"] == [{"type": "org.example.global", "content": {"a": 1}}]
    assert [event["room_id"] for event in answer["receipts"]] == [room_id]
    assert (await alice.get("events", from_=answer["end"]))["chunk"] == []


@pytest.mark.parametrize("archived", ["true", "false"])
async def test_the_initial_sync_tells_of_rooms_that_were_left_where_they_are_wanted(
    hospital: Hospital, archived: str
) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    await bob.leave(room_id)
    await alice.set_state(room_id, "m.room.topic", {"topic": "not for Bob"})
    rooms = (await bob.get("initialSync", archived=archived))["rooms"]
    assert [(room["room_id"], room["membership"]) for room in rooms] == [(room_id, "leave")] * (archived == "true")
    assert "m.room.topic" not in {event["type"] for room in rooms for event in room["state"]}


async def test_one_event_is_found_whatever_its_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(preset="private_chat")
    event_id = await alice.say(room_id, "hello")
    event = await alice.get(f"events/{event_id}")
    assert (event["room_id"], event["content"]["body"]) == (room_id, "hello")
    await bob.refused(404, "M_NOT_FOUND", "GET", f"events/{event_id}")
    await bob.refused(404, "M_NOT_FOUND", "GET", "events/$unheard-of")


@pytest.mark.parametrize(
    ("path", "query"),
    [("events", {"from_": "nonsense"}), ("events", {"timeout": "soon"}), ("initialSync", {"limit": "-1"})],
)
async def test_a_bad_parameter_is_refused(hospital: Hospital, path: str, query: dict[str, str]) -> None:
    alice = await hospital.person()
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, **query)


async def test_first_syncs_in_older_forms_have_a_limit_of_their_own(tenant_dsn: str, tmp_path: Path) -> None:
    limits = {"initial_sync": {"per_second": 0.001, "burst": 2}}
    async with run_hospital(tenant_dsn, tmp_path, rate_limits=limits) as hospital:
        alice = await hospital.person()
        room_id = await alice.create_room()
        costly = ("initialSync", f"rooms/{room_id}/initialSync")
        for path in costly:
            await alice.get(path)
        for path in costly:
            await alice.refused(429, "M_LIMIT_EXCEEDED", "GET", path)
        await alice.get("events")
