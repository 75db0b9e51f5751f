"""`sync.yaml`."""

import asyncio
import json
from typing import Any

import pytest

from tests.people import Hospital, Person


async def sync(person: Person, since: str | None = None, **query: Any) -> Any:
    """One answer; without a timeout unless said otherwise."""
    return await person.get("sync", since=since, **query)


async def test_a_conversation_is_followed(hospital: Hospital) -> None:
    alice, bob = await hospital.person(displayname="Alice"), await hospital.person(displayname="Bob")
    room_id = await alice.create_room(preset="private_chat", name="Ward 3", invite=[bob.user_id])
    invited = await sync(bob)
    stripped = invited["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert {"type": "m.room.name", "state_key": "", "sender": alice.user_id, "content": {"name": "Ward 3"}} in stripped
    await bob.join(room_id)
    joined = await sync(bob, invited["next_batch"])
    room = joined["rooms"]["join"][room_id]
    assert room["timeline"]["events"][-1]["content"]["membership"] == "join"
    waiting = asyncio.create_task(sync(bob, joined["next_batch"], timeout=20_000))
    await asyncio.sleep(0.1)
    event_id = await alice.say(room_id, "How is bed 4?")
    told = (await asyncio.wait_for(waiting, 5))["rooms"]["join"][room_id]
    (event,) = told["timeline"]["events"]
    assert (event["event_id"], event["content"]["body"]) == (event_id, "How is bed 4?")
    assert event["unsigned"]["membership"] == event["unsigned"]["io.element.msc4115.membership"] == "join"
    assert "room_id" not in event


async def test_whoever_sends_sees_it_at_once(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    since = (await sync(alice))["next_batch"]
    event_id = await alice.send(room_id, txn_id="mine")
    (event,) = (await sync(alice, since))["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["event_id"] == event_id
    assert event["unsigned"]["transaction_id"] == "mine"


async def test_prev_batch_leads_back_to_what_was_left_out(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    for number in range(5):
        await alice.say(room_id, f"text {number}")
    limit = json.dumps({"room": {"timeline": {"limit": 2}}})
    timeline = (await sync(alice, filter=limit))["rooms"]["join"][room_id]["timeline"]
    assert [event["content"]["body"] for event in timeline["events"]] == ["text 3", "text 4"]
    assert timeline["limited"] is True
    before = await alice.bodies(room_id, from_=timeline["prev_batch"], limit=3)
    assert before == ["text 2", "text 1", "text 0"]


async def test_history_between_two_syncs_is_found_by_both_tokens(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    since = (await sync(alice))["next_batch"]
    for number in range(4):
        await alice.say(room_id, f"text {number}")
    limit = json.dumps({"room": {"timeline": {"limit": 1}}})
    timeline = (await sync(alice, since, filter=limit))["rooms"]["join"][room_id]["timeline"]
    assert await alice.bodies(room_id, dir="f", from_=since, to=timeline["prev_batch"]) == [
        "text 0",
        "text 1",
        "text 2",
    ]


async def test_a_stored_filter_is_used_by_its_id(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.say(room_id, "hello")
    definition = {"room": {"timeline": {"types": ["m.room.message"]}}}
    filter_id = (await alice.post(f"user/{alice.user_id}/filter", definition))["filter_id"]
    timeline = (await sync(alice, filter=filter_id))["rooms"]["join"][room_id]["timeline"]
    assert [event["type"] for event in timeline["events"]] == ["m.room.message"]


@pytest.mark.parametrize(
    ("parameter", "value", "errcode"),
    [
        ("since", "not-a-token", "M_INVALID_PARAM"),
        ("since", "t5_0", "M_INVALID_PARAM"),
        ("filter", "12345", "M_INVALID_PARAM"),
        ("filter", "nonsense", "M_INVALID_PARAM"),
        ("filter", "{not json", "M_BAD_JSON"),
        ("filter", '{"room": 5}', "M_BAD_JSON"),
        ("set_presence", "asleep", "M_INVALID_PARAM"),
        ("timeout", "soon", "M_INVALID_PARAM"),
        ("full_state", "maybe", "M_INVALID_PARAM"),
    ],
)
async def test_a_bad_parameter_is_refused(hospital: Hospital, parameter: str, value: str, errcode: str) -> None:
    alice = await hospital.person()
    await alice.refused(400, errcode, "GET", "sync", **{parameter: value})


@pytest.mark.parametrize("presence", ["online", "offline", "unavailable"])
async def test_set_presence_is_accepted(hospital: Hospital, presence: str) -> None:
    alice = await hospital.person()
    assert (await sync(alice, set_presence=presence))["next_batch"]


async def test_state_after_comes_under_the_name_that_was_asked_for(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    unstable = {"org.matrix.msc4222.use_state_after": "true"}
    told = (await sync(alice, **unstable))["rooms"]["join"][room_id]
    assert "state" not in told
    assert "state_after" not in told
    assert "m.room.create" in {event["type"] for event in told["org.matrix.msc4222.state_after"]["events"]}
    told = (await sync(alice, use_state_after="true"))["rooms"]["join"][room_id]
    assert "state" not in told
    assert "m.room.create" in {event["type"] for event in told["state_after"]["events"]}


async def test_account_data_and_left_rooms(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    since = (await sync(alice))["next_batch"]
    await alice.put(f"user/{alice.user_id}/account_data/org.example", {"a": 1})
    await alice.put(f"user/{alice.user_id}/rooms/{room_id}/account_data/m.tag", {"tags": {}})
    answer = await sync(alice, since)
    assert answer["account_data"]["events"] == [{"type": "org.example", "content": {"a": 1}}]
    told = answer["rooms"]["join"][room_id]
    assert told["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    await alice.leave(room_id)
    left = (await sync(alice, answer["next_batch"]))["rooms"]["leave"][room_id]
    assert left["timeline"]["events"][-1]["content"]["membership"] == "leave"
    await alice.post(f"rooms/{room_id}/forget")
    include_leave = json.dumps({"room": {"include_leave": True}})
    assert "rooms" not in await sync(alice, filter=include_leave)


async def test_nobody_syncs_without_a_token(hospital: Hospital) -> None:
    alice = await hospital.person()
    alice.token = "unknown"
    await alice.refused(401, "M_UNKNOWN_TOKEN", "GET", "sync")
