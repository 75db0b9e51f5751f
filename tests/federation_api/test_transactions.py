"""Transactions: what other servers push, over HTTPS."""

import asyncio
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.shared_rooms import SharedRoom, push, queues_of, share_room
from tim_server.app.metrics import register_receiving
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.rooms.queue import Group, RoomQueues
from tim_server.storage.received_transactions import REAP_ANSWERS
from tim_server.storage.waiting_pdus import count_waiting


@pytest.fixture
async def room(neighbourhood: Neighbourhood) -> SharedRoom:
    return await share_room(neighbourhood.a, neighbourhood.peer)


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
async def test_a_message_becomes_part_of_the_room_in_every_version(neighbourhood: Neighbourhood, version: str) -> None:
    room = await share_room(neighbourhood.a, neighbourhood.peer, version=version)
    message = room.message()
    assert await room.push(message) == {message.event_id: {}}
    assert (await room.timeline())[-1]["content"]["body"] == "hello"
    assert (await room.alice.get("sync"))["rooms"]["join"][room.room_id]["timeline"]["events"][-1]["sender"] == (
        room.user_id
    )


async def test_fifty_messages_come_in_order(room: SharedRoom) -> None:
    messages = [room.message(f"message {number}") for number in range(50)]
    assert await room.push(*messages) == {message.event_id: {} for message in messages}
    assert (await room.seen())[-50:] == [message.event_id for message in messages]


async def test_events_may_come_in_any_order_within_a_transaction(room: SharedRoom) -> None:
    first, second, third = room.message(), room.message(), room.message()
    await room.push(third, first, second)
    assert (await room.seen())[-3:] == [first.event_id, second.event_id, third.event_id]


async def test_more_than_fifty_pdus_are_refused_as_a_whole(room: SharedRoom) -> None:
    messages = [room.message() for _ in range(51)]
    assert (await room.push(*messages, status=400))["errcode"] == "M_INVALID_PARAM"
    assert not {*await room.seen()} & {message.event_id for message in messages}


async def test_more_than_a_hundred_edus_are_refused(room: SharedRoom) -> None:
    await room.push(edus=[{"edu_type": "m.typing", "content": {}}] * 101, status=400)
    assert await room.push(edus=[{"edu_type": "m.typing", "content": {}}] * 100) == {}


async def test_keys_are_there_before_the_messages_that_they_decrypt(room: SharedRoom) -> None:
    messages = {room.alice.user_id: {room.alice.device_id: {"a": "key"}}}
    content = {"sender": room.user_id, "type": "m.room.encrypted", "message_id": "1", "messages": messages}
    message = room.message()
    await room.push(message, edus=[{"edu_type": "m.direct_to_device", "content": content}])
    async with queues_of(room.hospital).store.database.connection() as connection:
        key_at = await connection.fetchval("SELECT position FROM to_device_messages")
        message_at = await connection.fetchval("SELECT position FROM events WHERE event_id = $1", message.event_id)
    assert key_at < message_at


async def test_a_repeated_transaction_gets_the_same_answer_and_changes_nothing(room: SharedRoom) -> None:
    first, later = room.message(), room.message()
    answer = await room.push(first, txn_id="same")
    seen = await room.seen()
    assert await room.push(later, txn_id="same") == answer
    assert await room.seen() == seen


async def test_a_transaction_that_is_repeated_while_it_is_worked_on_is_carried_out_once(room: SharedRoom) -> None:
    message = room.message()
    answers = await asyncio.gather(*(room.push(message, txn_id="at once") for _ in range(5)))
    assert answers == [{message.event_id: {}}] * 5
    assert (await room.seen()).count(message.event_id) == 1


async def test_transactions_are_remembered_for_hours_only(room: SharedRoom) -> None:
    await room.push(room.message(), txn_id="old")
    database = queues_of(room.hospital).store.database

    async def count() -> int:
        async with database.connection() as connection:
            found: int = await connection.fetchval("SELECT count(*) FROM received_transactions WHERE txn_id = 'old'")
        return found

    await eventually(count)
    async with database.transaction() as tx:
        await tx.execute("UPDATE received_transactions SET received_at = received_at - interval '7 hours'")
        await tx.execute(REAP_ANSWERS)
    assert await count() == 0


async def test_an_event_that_comes_again_in_another_transaction_is_taken_in_once(room: SharedRoom) -> None:
    message = room.message()
    await room.push(message)
    assert await room.push(message) == {message.event_id: {}}
    assert (await room.seen()).count(message.event_id) == 1


async def test_one_bad_event_does_not_fail_the_others(room: SharedRoom) -> None:
    good = room.message("good")
    forged = room.message("forged")
    forged.pdu["signatures"] = {room.peer.name: {room.peer.author.key.key_id: "AAAA"}}
    room.fork.prev = (good.event_id,)
    topic = room.fork.make("m.room.topic", {"topic": "no power"}, state_key="")
    room.fork.prev = (good.event_id,)
    last = room.message("last")
    answer = await room.push(good, forged, topic, last, {"type": "m.room.message"}, {"room_id": 5})
    assert answer[good.event_id] == answer[last.event_id] == {}
    assert "error" in answer[forged.event_id]
    assert answer[topic.event_id] == {}  # it was received, and is rejected
    assert len(answer) == 4
    assert (await room.seen())[-2:] == [good.event_id, last.event_id]


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("odd", "passes"),
    [
        ({"n": 1.5}, {"5"}),
        ({"n": 10**30}, {"5"}),
        ({"n": -(2**63) - 1}, {"5"}),
        ({"n": "a\0b"}, {"5", "11"}),
        ({"\0": [None, "\u2028"]}, {"5", "11"}),
        ({"n": nested(240)}, {"5", "11"}),
        ({"n": nested(300)}, set()),
        ({"n": nested(800)}, set()),
    ],
)
@pytest.mark.parametrize("version", ["5", "11"])
async def test_json_that_not_all_rooms_hold_fails_no_other_event(
    neighbourhood: Neighbourhood, version: str, odd: dict[str, Any], passes: set[str]
) -> None:
    room = await share_room(neighbourhood.a, neighbourhood.peer, version=version)
    before, after = room.message(), room.message()
    strange = room.message().pdu if version not in passes else room.message(**odd).pdu
    strange = {**strange, "content": {**strange["content"], **odd}}
    edus = [{"edu_type": "m.typing", "content": odd}]
    answer = await room.push(before, after, strange, edus=edus)
    assert (answer.pop(before.event_id), answer.pop(after.event_id)) == ({}, {})
    assert all(("error" in outcome) == (version not in passes) for outcome in answer.values())
    last = (await room.alice.get("sync"))["rooms"]["join"][room.room_id]["timeline"]["events"][-1]
    wanted = odd if version in passes else {}
    assert {key: last["content"][key] for key in wanted} == wanted
    assert len(await room.timeline()) >= 3


async def test_json_that_nobody_can_have_signed_is_bad(room: SharedRoom) -> None:
    path = "/_matrix/federation/v1/send/bad"
    for depth in (980, 5_000):
        body = b'{"edus":[],"pdus":[' + b'{"a":' * depth + b"1" + b"}" * depth + b"]}"
        status, answer = await room.peer.ask("a.example", "PUT", path, body)
        assert (status, answer["errcode"]) == (400, "M_BAD_JSON")


async def test_events_of_a_room_that_is_not_known_are_answered_with_an_error(room: SharedRoom) -> None:
    other = await share_room(room.hospital, room.peer)
    stranger = other.message()
    stranger.pdu["room_id"] = "!nowhere:peer.example"
    known = room.message()
    answer = await room.push(stranger, known)
    assert answer.pop(known.event_id) == {}
    ((_, refused),) = answer.items()
    assert refused["error"] == "This server is not in the room"


async def test_events_of_a_room_that_this_server_has_left_are_answered_with_an_error(room: SharedRoom) -> None:
    await room.alice.leave(room.room_id)
    message = room.message()
    assert "not in the room" in (await room.push(message))[message.event_id]["error"]


async def test_a_server_that_the_access_control_list_denies_is_answered_for_each_event(room: SharedRoom) -> None:
    acl = {"allow": ["*"], "deny": ["peer.*"]}
    await room.alice.put(f"rooms/{room.room_id}/state/m.room.server_acl", acl)
    message = room.message()
    assert "access control list" in (await room.push(message))[message.event_id]["error"]
    assert message.event_id not in await room.seen()


async def test_an_event_of_another_server_is_taken_in_as_long_as_that_has_signed_it(
    neighbourhood: Neighbourhood, room: SharedRoom
) -> None:
    relayed = room.message("relayed")
    theirs: Event = room.fork.make("m.room.message", {"body": "not yours"}, sender=f"@eve:{neighbourhood.b.name}")
    answer = await push(neighbourhood.peer, room.hospital.name, relayed, theirs)
    assert answer[relayed.event_id] == {}
    assert "b.example" in answer[theirs.event_id]["error"]


async def test_a_room_that_is_slow_does_not_hold_up_another(room: SharedRoom, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not decided in time is kept, and decided later."""
    other = await share_room(room.hospital, room.peer)
    receiver, go_on = room.hospital.process.homeservers[0].homeserver.transaction_receiver.pdus, asyncio.Event()
    submit = RoomQueues.submit

    async def slow(queues: RoomQueues, room_id: RoomId, group: Group) -> tuple[EventId, ...]:
        if room_id == room.room_id:
            await go_on.wait()
        return await submit(queues, room_id, group)

    monkeypatch.setattr(RoomQueues, "submit", slow)
    monkeypatch.setattr(receiver, "patience_s", 0.3)
    held, quick = room.message("held"), other.message("quick")
    async with asyncio.timeout(3):
        assert await room.push(held, quick) == {held.event_id: {}, quick.event_id: {}}
    assert (await other.seen())[-1] == quick.event_id and held.event_id not in await room.seen()
    go_on.set()
    await eventually(room.seen, lambda seen: held.event_id in seen)
    async with room.queues.store.database.connection() as connection:
        await eventually(lambda: count_waiting(connection), lambda count: count == 0)


async def test_figures_tell_what_became_of_events(room: SharedRoom) -> None:
    registry = CollectorRegistry()
    register_receiving(registry, room.hospital.process.homeservers)

    def figure(outcome: str) -> float:
        return registry.get_sample_value("tim_federation_events_total", {"outcome": outcome}) or 0.0

    before = {outcome: figure(outcome) for outcome in ("received", "dropped", "waiting")}
    good, bad = room.message(), room.message()
    bad.pdu["signatures"] = {}
    on_bad = room.message()
    await room.push(good, bad, on_bad)
    after = {outcome: figure(outcome) - count for outcome, count in before.items()}
    assert after == {"received": 2, "dropped": 1, "waiting": 1}
