"""Rooms with a policy server: nothing is sent or shown that it does not recommend.

Spec: https://spec.matrix.org/v1.19/server-server-api/#policy-servers
"""

import asyncio

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.policy_server import SIGN, ByHand
from tests.shared_rooms import SharedRoom, share_room
from tim_server.matrix.policy_servers import KEY_ID
from tim_server.storage.events import load_events_by_id


@pytest.fixture
async def room(neighbourhood: Neighbourhood) -> SharedRoom:
    return await share_room(neighbourhood.a, neighbourhood.peer, version="12", power=50)


@pytest.fixture
async def policy(room: SharedRoom) -> ByHand:
    policy = ByHand(room)
    await policy.begin()
    room.fork = await room.fork_here()
    return policy


async def pdu_of(room: SharedRoom, event_id: str) -> dict[str, object]:
    status, answer = await room.peer.ask("a.example", "GET", f"/_matrix/federation/v1/event/{event_id}")
    assert status == 200
    return answer["pdus"][0]  # type: ignore[no-any-return]


async def is_soft_failed(room: SharedRoom, event_id: str) -> bool:
    store = room.queues.store
    async with store.database.connection() as connection:
        return (await load_events_by_id(connection, store.codec, [event_id]))[event_id].soft_failed  # type: ignore[index]


async def test_what_is_sent_bears_the_recommendation(room: SharedRoom, policy: ByHand) -> None:
    event_id = await room.alice.send(room.room_id)
    pdu = await pdu_of(room, event_id)
    assert KEY_ID in pdu["signatures"]["peer.example"] and "a.example" in pdu["signatures"]  # type: ignore[index,operator]
    assert [event.event_id for event in policy.asked] == [event_id]


async def test_state_is_asked_about_too_but_not_the_policy_itself(room: SharedRoom, policy: ByHand) -> None:
    await room.alice.put(f"rooms/{room.room_id}/state/m.room.topic", {"topic": "rounds"})
    await room.alice.put(f"rooms/{room.room_id}/state/m.room.policy", {})
    await room.alice.send(room.room_id)
    assert [event.type for event in policy.asked] == ["m.room.topic"]


async def test_what_it_refuses_is_not_sent_and_the_client_is_told_why(room: SharedRoom, policy: ByHand) -> None:
    policy.refuses.add("spam")
    path = f"rooms/{room.room_id}/send/m.room.message/1"
    answer = await room.alice.expect(403, "PUT", path, {"msgtype": "m.text", "body": "spam"})
    assert (answer["errcode"], answer["error"]) == ("M_FORBIDDEN", "not in this ward")
    assert "spam" not in [event["content"].get("body") for event in await room.timeline()]


async def test_others_are_sent_while_one_is_refused(room: SharedRoom, policy: ByHand) -> None:
    policy.refuses.add("spam")
    texts = ["spam" if number % 3 == 0 else f"fine {number}" for number in range(12)]

    async def send(number: int, text: str) -> int:
        path = f"rooms/{room.room_id}/send/m.room.message/{number}"
        return (await room.alice.request("PUT", path, {"msgtype": "m.text", "body": text}))[0]

    statuses = await asyncio.gather(*(send(number, text) for number, text in enumerate(texts)))
    assert statuses == [403 if text == "spam" else 200 for text in texts]
    seen = [event["content"].get("body") for event in await room.timeline()]
    assert {text for text in texts if text != "spam"} <= {*seen} and "spam" not in seen


@pytest.mark.parametrize("status", [404, 500])
async def test_nothing_is_sent_without_an_answer(room: SharedRoom, policy: ByHand, status: int) -> None:
    room.peer.answers["POST", SIGN] = web.Response(status=status)
    path = f"rooms/{room.room_id}/send/m.room.message/1"
    await room.alice.expect(502, "PUT", path, {"msgtype": "m.text", "body": "hello"})


async def test_a_signature_with_another_key_recommends_nothing(room: SharedRoom, policy: ByHand) -> None:
    signature = {KEY_ID: room.peer.author.key.sign(b"something")}
    room.peer.answers["POST", SIGN] = {"peer.example": signature}
    path = f"rooms/{room.room_id}/send/m.room.message/1"
    await room.alice.expect(502, "PUT", path, {"msgtype": "m.text", "body": "hello"})


async def test_what_arrives_with_the_recommendation_is_shown_without_a_question(
    room: SharedRoom, policy: ByHand
) -> None:
    message = room.message()
    assert await room.push(policy.signed(message)) == {message.event_id: {}}
    assert (await room.seen())[-1] == message.event_id
    assert policy.asked == []


async def test_what_arrives_without_it_is_asked_about(room: SharedRoom, policy: ByHand) -> None:
    policy.refuses.add("spam")
    good, bad = room.message("good"), room.message("spam")
    after = room.message("after")
    assert await room.push(good, bad, after) == {event.event_id: {} for event in (good, bad, after)}
    seen = await room.seen()
    assert seen[-2:] == [good.event_id, after.event_id] and bad.event_id not in seen
    assert await is_soft_failed(room, bad.event_id)
    assert KEY_ID in (await pdu_of(room, good.event_id))["signatures"]["peer.example"]  # type: ignore[index,operator]


async def test_what_arrives_while_it_can_not_be_asked_is_not_shown(room: SharedRoom, policy: ByHand) -> None:
    room.peer.answers["POST", SIGN] = web.Response(status=500)
    message = room.message()
    await room.push(message)
    assert message.event_id not in await room.seen()


async def test_a_server_without_a_user_in_the_room_is_no_policy_server(room: SharedRoom, policy: ByHand) -> None:
    path = f"rooms/{room.room_id}/kick"
    await room.alice.post(path, {"user_id": room.user_id})
    policy.asked.clear()
    await room.alice.send(room.room_id)
    assert policy.asked == []


@pytest.mark.parametrize(
    "content",
    [
        {},
        {"via": "peer.example"},
        {"via": 5, "public_keys": {"ed25519": "a"}},
        {"via": "peer.example", "public_keys": []},
    ],
)
async def test_a_policy_that_is_not_valid_changes_nothing(room: SharedRoom, content: dict[str, object]) -> None:
    await room.alice.put(f"rooms/{room.room_id}/state/m.room.policy", content)
    await room.alice.send(room.room_id)
    room.fork = await room.fork_here()
    message = room.message()
    await room.push(message)
    assert (await room.seen())[-1] == message.event_id


async def test_a_slow_policy_server_holds_up_no_other_room(room: SharedRoom, policy: ByHand) -> None:
    answered = asyncio.Event()

    async def slow(_: object) -> object:
        await answered.wait()
        return web.Response(status=500)

    room.peer.answers["POST", SIGN] = slow
    waiting = asyncio.create_task(
        room.alice.request("PUT", f"rooms/{room.room_id}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"})
    )
    await asyncio.sleep(0.1)
    other = await room.alice.create_room()
    async with asyncio.timeout(2):
        await room.alice.send(other)
    answered.set()
    assert (await waiting)[0] == 502
