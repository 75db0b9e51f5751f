"""`receipts.yaml`, and receipts in `/sync`."""

import asyncio
import json
from typing import Any

import pytest

from tests.people import Hospital, Person


async def sync(person: Person, since: str | None = None, **query: Any) -> Any:
    """One answer; without a timeout unless said otherwise."""
    return await person.get("sync", since=since, **query)


def receipts_in(answer: Any, room_id: str) -> list[tuple[str, str, str, str | None]]:
    """(event, type, user, thread) of all receipts that an answer tells of a room."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    return [
        (event_id, receipt_type, user_id, receipt.get("thread_id"))
        for event in room.get("ephemeral", {}).get("events", ())
        if event["type"] == "m.receipt"
        for event_id, of_event in event["content"].items()
        for receipt_type, users in of_event.items()
        for user_id, receipt in users.items()
    ]


async def read(person: Person, room_id: str, event_id: str, kind: str = "m.read", **body: Any) -> None:
    """Send a receipt."""
    await person.post(f"rooms/{room_id}/receipt/{kind}/{event_id}", body)


async def test_a_receipt_is_told_to_everybody_in_the_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await alice.say(room_id, "How is bed 4?")
    since = (await sync(alice))["next_batch"]
    waiting = asyncio.create_task(sync(alice, since, timeout=20_000))
    await asyncio.sleep(0.1)
    await read(bob, room_id, event_id)
    answer = await asyncio.wait_for(waiting, 5)
    assert receipts_in(answer, room_id) == [(event_id, "m.read", bob.user_id, None)]
    (event,) = answer["rooms"]["join"][room_id]["ephemeral"]["events"]
    assert isinstance(event["content"][event_id]["m.read"][bob.user_id]["ts"], int)
    assert receipts_in(await sync(bob), room_id) == [(event_id, "m.read", bob.user_id, None)]
    assert "rooms" not in await sync(alice, answer["next_batch"])


async def test_a_private_receipt_is_told_to_its_user_only(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await alice.say(room_id, "How is bed 4?")
    alice_since, bob_since = (await sync(alice))["next_batch"], (await sync(bob))["next_batch"]
    await read(bob, room_id, event_id, "m.read.private")
    own = [(event_id, "m.read.private", bob.user_id, None)]
    assert receipts_in(await sync(bob, bob_since), room_id) == own
    assert receipts_in(await sync(bob), room_id) == own
    assert "rooms" not in await sync(alice, alice_since)
    assert receipts_in(await sync(alice), room_id) == []


async def test_a_receipt_never_moves_backwards(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first, second = await alice.say(room_id, "one"), await alice.say(room_id, "two")
    await read(alice, room_id, second)
    since = (await sync(alice))["next_batch"]
    await read(alice, room_id, first)
    await read(alice, room_id, second)
    answer = await sync(alice, since)
    assert "rooms" not in answer
    assert answer["next_batch"] == since, "what changes nothing is not written"
    assert receipts_in(await sync(alice), room_id) == [(second, "m.read", alice.user_id, None)]
    await read(alice, room_id, first, "m.read.private")  # each type has a place of its own
    assert receipts_in(await sync(alice, since), room_id) == [(first, "m.read.private", alice.user_id, None)]


async def test_receipts_of_threads_stand_beside_each_other(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "in the main timeline")
    since = (await sync(alice))["next_batch"]
    await read(alice, room_id, event_id)
    await read(alice, room_id, event_id, thread_id="main")
    await read(alice, room_id, event_id, thread_id=event_id)  # the beginning of a thread that may follow
    expected = [(event_id, "m.read", alice.user_id, thread_id) for thread_id in (None, "main", event_id)]
    assert receipts_in(await sync(alice, since), room_id) == expected
    assert sorted(receipts_in(await sync(alice), room_id), key=str) == sorted(expected, key=str)


@pytest.mark.parametrize("thread_id", ["", None, 5, [], {}, "elsewhere", "$" + "x" * 300, "$unrelated"])
async def test_a_thread_that_is_none_is_refused(hospital: Hospital, thread_id: Any) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/receipt/m.read/{await alice.say(room_id, 'hello')}"
    await alice.refused(400, "M_INVALID_PARAM", "POST", path, {"thread_id": thread_id})


async def test_the_fully_read_marker_has_no_thread(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/receipt/m.fully_read/{await alice.say(room_id, 'hello')}"
    await alice.refused(400, "M_INVALID_PARAM", "POST", path, {"thread_id": "main"})


async def test_who_is_not_joined_sends_no_receipts(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    path = f"rooms/{room_id}/receipt/m.read/{await alice.say(room_id, 'hello')}"
    await bob.refused(403, "M_FORBIDDEN", "POST", path, {})
    await bob.join(room_id)
    await bob.post(path)
    await bob.leave(room_id)
    await bob.refused(403, "M_FORBIDDEN", "POST", path, {})
    await bob.refused(403, "M_FORBIDDEN", "POST", path.replace(room_id, "!nowhere:hospital.example"), {})


async def test_an_event_that_is_not_there_or_hidden_can_not_be_read(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id, other_room = await alice.create_room(), await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden = await alice.say(room_id, "before Bob came")
    elsewhere = await alice.say(other_room, "in another room")
    await bob.join(room_id)
    for event_id in (hidden, "$unknown"):
        await bob.refused(404, "M_NOT_FOUND", "POST", f"rooms/{room_id}/receipt/m.read/{event_id}", {})
    await alice.refused(404, "M_NOT_FOUND", "POST", f"rooms/{room_id}/receipt/m.read/{elsewhere}", {})


@pytest.mark.parametrize(
    ("kind", "event_id", "body", "errcode"),
    [
        ("m.unread", "$e", {}, "M_INVALID_PARAM"),
        ("m.read", "no-event", {}, "M_INVALID_PARAM"),
        ("m.read", "$e", [], "M_BAD_JSON"),
        ("m.read", "$e", b"{", "M_NOT_JSON"),
    ],
)
async def test_a_bad_receipt_is_refused(hospital: Hospital, kind: str, event_id: str, body: Any, errcode: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(400, errcode, "POST", f"rooms/{room_id}/receipt/{kind}/{event_id}", body)


async def test_a_body_may_be_left_out(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "hello")
    await alice.expect(200, "POST", f"rooms/{room_id}/receipt/m.read/{event_id}")
    assert receipts_in(await sync(alice), room_id) == [(event_id, "m.read", alice.user_id, None)]


async def test_who_joins_is_told_the_receipts_of_the_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    event_id = await alice.say(room_id, "hello")
    await read(alice, room_id, event_id)
    since = (await sync(bob))["next_batch"]
    await bob.join(room_id)
    assert receipts_in(await sync(bob, since), room_id) == [(event_id, "m.read", alice.user_id, None)]


@pytest.mark.parametrize(
    "ephemeral",
    [
        {"types": ["m.typing"]},
        {"not_types": ["m.receipt"]},
        {"types": []},
        {"senders": ["@x:hospital.example"]},
        {"rooms": []},
        {"not_rooms": ["{room}"]},
    ],
)
async def test_a_filter_leaves_receipts_out(hospital: Hospital, ephemeral: dict[str, list[str]]) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await alice.say(room_id, "hello")
    wanted = json.dumps({"room": {"ephemeral": ephemeral}}).replace("{room}", room_id)
    since = (await sync(alice, filter=wanted))["next_batch"]
    await read(bob, room_id, event_id)
    assert "rooms" not in await sync(alice, since, filter=wanted)
    first = await sync(alice, filter=wanted)
    assert "ephemeral" not in first["rooms"]["join"][room_id]
    assert receipts_in(await sync(alice, since), room_id)


async def test_receipts_of_ignored_users_are_not_told(hospital: Hospital) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    await carol.join(room_id)
    event_id = await alice.say(room_id, "hello")
    ignored = {"ignored_users": {bob.user_id: {}}}
    await alice.put(f"user/{alice.user_id}/account_data/m.ignored_user_list", ignored)
    since = (await sync(alice))["next_batch"]
    await read(bob, room_id, event_id)
    await read(carol, room_id, event_id)
    expected = [(event_id, "m.read", carol.user_id, None)]
    assert receipts_in(await sync(alice, since), room_id) == expected
    assert receipts_in(await sync(alice), room_id) == expected


async def reply(person: Person, room_id: str, relation: dict[str, Any]) -> str:
    """A message with this relation; its id."""
    return await person.send(room_id, {"msgtype": "m.text", "body": "reply", "m.relates_to": relation})


async def test_a_threaded_receipt_is_for_an_event_of_the_thread(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root, other = await alice.say(room_id, "root"), await alice.say(room_id, "other")
    first = await reply(alice, room_id, {"rel_type": "m.thread", "event_id": root})
    reaction = {"rel_type": "m.annotation", "event_id": first, "key": "👍"}
    reacted = await alice.send(room_id, {"m.relates_to": reaction}, type="m.reaction")
    since = (await sync(alice))["next_batch"]
    for event_id, thread_id in ((first, "main"), (reacted, "main"), (other, root), (first, other)):
        path = f"rooms/{room_id}/receipt/m.read/{event_id}"
        await alice.refused(400, "M_INVALID_PARAM", "POST", path, {"thread_id": thread_id})
    await read(alice, room_id, root, thread_id="main")
    await read(alice, room_id, first, thread_id=root)
    await read(alice, room_id, reacted, thread_id=root)  # what relates to an event of the thread is part of it
    assert sorted(receipts_in(await sync(alice, since), room_id)) == sorted(
        [(root, "m.read", alice.user_id, "main"), (reacted, "m.read", alice.user_id, root)]
    )


async def test_a_private_receipt_does_not_end_the_waiting_of_others(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    event_id = await alice.say(room_id, "hello")
    since_of = {person.user_id: (await sync(person))["next_batch"] for person in (alice, bob)}
    waiting = asyncio.create_task(sync(alice, since_of[alice.user_id], timeout=20_000))
    own = asyncio.create_task(sync(bob, since_of[bob.user_id], timeout=20_000))
    await asyncio.sleep(0.1)
    await read(bob, room_id, event_id, "m.read.private")
    assert receipts_in(await asyncio.wait_for(own, 5), room_id) == [(event_id, "m.read.private", bob.user_id, None)]
    assert not waiting.done()
    await read(bob, room_id, event_id)
    assert receipts_in(await asyncio.wait_for(waiting, 5), room_id) == [(event_id, "m.read", bob.user_id, None)]
