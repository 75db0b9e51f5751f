"""Messages to devices over real HTTP: sent, and received by sync.

Spec: https://spec.matrix.org/v1.19/client-server-api/#send-to-device-messaging
"""

import asyncio
import itertools
from typing import Any

import pytest

from tests.client_api.test_device_management import log_in
from tests.people import Hospital, Person

_transactions = itertools.count(1)


async def send(sender: Person, to: Person, content: Any, device_id: str | None = None, txn_id: str = "") -> None:
    """Send a message to a person's device."""
    messages = {to.user_id: {device_id or to.device_id: content}}
    await sender.put(f"sendToDevice/m.test/{txn_id or next(_transactions)}", {"messages": messages})


async def receive(person: Person, since: str | None = None, timeout_ms: int = 0) -> tuple[list[Any], str]:
    """The contents of the messages of an answer, and the next token."""
    answer = await person.get("sync", since=since, timeout=timeout_ms)
    return [event["content"] for event in answer.get("to_device", {"events": []})["events"]], answer["next_batch"]


async def receive_all(person: Person, since: str | None = None) -> list[Any]:
    """The contents of all messages that wait."""
    received: list[Any] = []
    while True:
        contents, since = await receive(person, since)
        if not contents:
            return received
        received += contents


async def test_a_message_reaches_its_device_and_no_other(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    tablet = await log_in(bob, "TABLET")
    tokens = {person.device_id: (await receive(person))[1] for person in (bob, tablet)}
    await send(alice, bob, {"a": 1})
    answer = await bob.get("sync", since=tokens[bob.device_id])
    assert answer["to_device"]["events"] == [{"sender": alice.user_id, "type": "m.test", "content": {"a": 1}}]
    assert await receive_all(tablet, tokens["TABLET"]) == []
    assert await receive_all(alice) == []


async def test_a_star_stands_for_all_devices(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    tablet = await log_in(bob, "TABLET")
    messages = {bob.user_id: {"*": {"to": "all"}, "TABLET": {"to": "tablet"}}}
    await alice.put("sendToDevice/m.test/1", {"messages": messages})
    assert await receive_all(bob) == [{"to": "all"}]
    assert await receive_all(tablet) == [{"to": "tablet"}]


async def test_a_repeated_transaction_changes_nothing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    for number in range(3):
        await send(alice, bob, {"n": number}, txn_id="same")
    await send(await log_in(alice, "OTHER"), bob, {"n": "other device"}, txn_id="same")
    body = {"messages": {bob.user_id: {bob.device_id: {"n": "other type"}}}}
    await alice.put("sendToDevice/m.other/same", body)
    assert await receive_all(bob) == [{"n": 0}, {"n": "other device"}, {"n": "other type"}]


async def test_many_repeats_at_the_same_time_send_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    await asyncio.gather(*(send(alice, bob, {"n": 1}, txn_id="same") for _ in range(10)))
    assert await receive_all(bob) == [{"n": 1}]


async def test_a_message_is_given_until_a_token_covers_it(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    _, start = await receive(bob)
    await send(alice, bob, {"n": 1})
    first, covering = await receive(bob, start)
    assert first == [{"n": 1}]
    assert (await receive(bob, start))[0] == first  # the answer was lost
    assert (await receive(bob))[0] == first
    await send(alice, bob, {"n": 2})
    assert (await receive(bob, start))[0] == [{"n": 1}, {"n": 2}]
    assert (await receive(bob, covering))[0] == [{"n": 2}]
    assert (await receive(bob, start))[0] == [{"n": 2}]  # the first one has been received, and is gone


async def test_a_long_queue_comes_in_pages_and_in_order(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    _, since = await receive(bob)
    room_id = await bob.create_room()
    for number in range(250):
        await send(alice, bob, {"n": number})
    message = await bob.say(room_id, "meanwhile")
    pages, seen = [], []
    while True:
        answer = await bob.get("sync", since=since)
        events = answer.get("to_device", {"events": []})["events"]
        for room in answer.get("rooms", {}).get("join", {}).values():
            seen += [event["event_id"] for event in room["timeline"]["events"]]
        if not events:
            break
        again = await bob.get("sync", since=since)  # the answer was lost
        assert (again["to_device"], again["next_batch"]) == (answer["to_device"], answer["next_batch"])
        pages.append([event["content"]["n"] for event in events])
        since = answer["next_batch"]
        await send(alice, bob, {"n": 250}, txn_id="between")
    assert [len(page) for page in pages] == [100, 100, 51]
    assert [number for page in pages for number in page] == list(range(251))
    assert seen.count(message) == 1


async def test_a_token_of_a_page_serves_where_a_sync_token_does(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await bob.create_room()
    await bob.say(room_id, "hello")
    await asyncio.gather(*(send(alice, bob, {"n": number}) for number in range(101)))
    _, token = await receive(bob)
    assert "_d" in token
    assert await bob.bodies(room_id, from_=token) == ["hello"]
    await bob.get("keys/changes", from_=token, to=token)


async def test_messages_that_are_sent_at_the_same_time_all_arrive_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    await asyncio.gather(*(send(alice, bob, {"n": number}) for number in range(300)))
    received = await receive_all(bob)
    assert sorted(content["n"] for content in received) == list(range(300))


async def test_a_message_wakes_the_sync_that_waits(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    _, since = await receive(bob)
    _, since = await receive(bob, since)
    waiting = asyncio.create_task(receive(bob, since, timeout_ms=20_000))
    await asyncio.sleep(0.2)
    await send(alice, bob, {"n": 1}, "*")
    async with asyncio.timeout(5):
        assert (await waiting)[0] == [{"n": 1}]


async def test_who_is_not_there_gets_nothing_and_fails_nothing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    messages = {
        bob.user_id: {"NOPE": {}, bob.device_id: {"n": 1}},
        "@nobody:hospital.example": {"*": {}},
        "@carol:elsewhere.example": {"*": {}},
    }
    assert await alice.put("sendToDevice/m.test/1", {"messages": messages}) == {}
    assert await receive_all(bob) == [{"n": 1}]


async def test_500_messages_in_one_request(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    devices = {f"D{number}": {"n": number} for number in range(500)}
    for device_id in list(devices)[:20]:
        await log_in(bob, device_id)
    await alice.put("sendToDevice/m.test/1", {"messages": {bob.user_id: devices}})
    assert await receive_all(await log_in(bob, "D7")) == [{"n": 7}]


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_MISSING_PARAM"),
        ({"messages": []}, 400, "M_BAD_JSON"),
        ({"messages": {"bob": {}}}, 400, "M_INVALID_PARAM"),
        ({"messages": {"@bob:hospital.example": {"D": "x"}}}, 400, "M_BAD_JSON"),
        ({"messages": {"@bob:hospital.example": {"D": {"x": "y" * 70_000}}}}, 413, "M_TOO_LARGE"),
        ({"messages": {"@bob:hospital.example": {str(n): {} for n in range(5_001)}}}, 413, "M_TOO_LARGE"),
    ],
)
async def test_messages_that_are_refused(hospital: Hospital, body: Any, status: int, errcode: str) -> None:
    alice = await hospital.person()
    await alice.refused(status, errcode, "PUT", "sendToDevice/m.test/1", body)
    await alice.refused(400, "M_INVALID_PARAM", "PUT", f"sendToDevice/{'x' * 256}/1", {"messages": {}})


async def test_what_a_star_makes_of_a_request_is_bounded(hospital: Hospital) -> None:
    alice = await hospital.person()
    users = [await hospital.person() for _ in range(15)]
    for number in range(19):
        await asyncio.gather(*(log_in(user, f"D{number}") for user in users))
    messages = {user.user_id: {"*": {"x": "y" * 60_000}} for user in users}
    await alice.refused(413, "M_TOO_LARGE", "PUT", "sendToDevice/m.test/1", {"messages": messages})
    assert await receive_all(users[0]) == []
    messages = {user.user_id: {"*": {"x": "y" * 60_000}} for user in users[1:10]}
    await alice.put("sendToDevice/m.test/2", {"messages": messages})
