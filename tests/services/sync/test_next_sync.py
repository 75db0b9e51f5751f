"""Incremental syncs: what has changed since a token."""

import asyncio
from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids, keys
from tests.services.sync.steps import CAROL, DAVE, room_of
from tim_server.services.rooms.draft import RedactionTarget
from tim_server.services.sync.from_memory import FromMemory
from tim_server.storage.events import load_events_by_id
from tim_server.storage.store import Store


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """For each look at the memory, whether it sufficed."""
    outcomes: list[bool] = []
    answer = FromMemory.answer

    async def noting(self: FromMemory, reading: Any) -> Any:
        outcomes.append(False)
        result = await answer(self, reading)
        outcomes[-1] = True
        return result

    monkeypatch.setattr(FromMemory, "answer", noting)
    return outcomes


async def test_nothing_new_is_told_at_once_without_a_timeout(rooms: Rooms, device: MakeDevice) -> None:
    await room_of(rooms)
    alice = device(ALICE)
    await alice.next()
    answer = await alice.next()
    assert set(answer) == {"next_batch", "device_one_time_keys_count", "device_unused_fallback_key_types"}


async def test_a_message_comes_from_memory(rooms: Rooms, device: MakeDevice, asked: list[bool]) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    sent = [await rooms.send(room_id, BOB), await rooms.send(room_id, BOB)]
    told = await alice.joined(room_id)
    assert asked == [True]
    assert ids(told) == sent
    assert told["state"] == {"events": []}
    assert told["timeline"]["limited"] is False
    assert told["timeline"]["events"][0]["unsigned"]["membership"] == "join"
    assert "summary" not in told


@pytest.mark.parametrize("state_after", [False, True])
@pytest.mark.parametrize("lazy", [False, True])
async def test_memory_and_database_tell_the_same(
    rooms: Rooms, device: MakeDevice, asked: list[bool], lazy: bool, state_after: bool
) -> None:
    room_id = await room_of(rooms, BOB)
    state = {"lazy_load_members": lazy}
    alice = device(ALICE, filter={"room": {"state": state}}, state_after=state_after)
    await alice.next()
    await rooms.send(room_id, BOB)
    await rooms.send(room_id, ALICE, txn_id=f"mine {lazy} {state_after}")
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "one"})
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "two"})
    await rooms.member(room_id, CAROL, "join")
    await rooms.send(room_id, CAROL)
    await rooms.member(room_id, ALICE, "invite", DAVE)
    answers = [await alice.ask()]
    alice.sync.views.clear()
    answers.append(await alice.ask())
    assert asked == [True, False]
    for answer in answers:
        for part in ("timeline", "state", "state_after"):
            for event in answer["rooms"]["join"][room_id].get(part, {"events": []})["events"]:
                event["unsigned"].pop("age")
    assert answers[0] == answers[1]
    told = answers[0]["rooms"]["join"][room_id]
    assert told["timeline"]["events"][1]["unsigned"]["transaction_id"] == f"mine {lazy} {state_after}"
    assert told["timeline"]["events"][3]["unsigned"]["prev_content"] == {"topic": "one"}
    assert told["summary"] == {"m.heroes": [BOB, CAROL, DAVE], "m.joined_member_count": 3, "m.invited_member_count": 1}


async def test_a_gap_is_limited_and_tells_the_state_that_changed_in_it(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE, filter={"room": {"timeline": {"limit": 3}}})
    await alice.next()
    topic = await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "in the gap"})
    sent = [await rooms.send(room_id, BOB) for _ in range(5)]
    told = await alice.joined(room_id)
    assert ids(told) == sent[-3:]
    assert told["timeline"]["limited"] is True
    assert ids(told, "state") == [topic]


async def test_a_state_event_of_the_timeline_is_not_told_twice(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    topic = await rooms.send(room_id, BOB, "m.room.message")
    name = await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    told = await alice.joined(room_id)
    assert ids(told) == [topic, name]
    assert told["state"] == {"events": []}


async def test_state_after_tells_what_the_timeline_changes(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE, state_after=True)
    await alice.next()
    await rooms.send(room_id, BOB)
    assert ids(await alice.joined(room_id), "state_after") == []
    name = await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    assert ids(await alice.joined(room_id), "state_after") == [name]


async def test_state_that_the_timeline_filter_hides_comes_as_state(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE, filter={"room": {"timeline": {"types": ["m.room.message"]}}})
    await alice.next()
    name = await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    sent = await rooms.send(room_id, BOB)
    told = await alice.joined(room_id)
    assert ids(told) == [sent]
    assert ids(told, "state") == [name]


async def test_a_redaction_empties_what_it_names(rooms: Rooms, device: MakeDevice, store: Store) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    sent = await rooms.send(room_id, BOB)
    row = await _row(store, sent)
    target = RedactionTarget(nid=row.nid, sender=BOB)
    content = {"redacts": sent, "reason": "oops"}
    redaction = await rooms.send(room_id, BOB, "m.room.redaction", content=content, redacts=sent, target=target)
    told = await alice.joined(room_id)
    assert ids(told) == [sent, redaction]
    redacted = told["timeline"]["events"][0]
    assert redacted["content"] == {}
    assert redacted["unsigned"]["redacted_because"]["event_id"] == redaction


async def _row(store: Store, event_id: Any) -> Any:
    async with store.database.connection() as connection:
        return (await load_events_by_id(connection, store.codec, [event_id]))[event_id]


async def test_full_state_tells_all_state_and_does_not_wait(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    answer = await asyncio.wait_for(alice.next(timeout_ms=20_000, full_state=True), 5)
    told = answer["rooms"]["join"][room_id]
    assert ids(told) == []
    assert ("m.room.create", "") in keys(told)
    assert ("m.room.member", BOB) in keys(told)


async def test_a_token_of_the_future_counts_as_now(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    alice.since = "s99999999999"
    waiting = asyncio.create_task(alice.joined(room_id, timeout_ms=10_000))
    await asyncio.sleep(0.1)
    sent = await rooms.send(room_id, BOB)
    assert ids(await asyncio.wait_for(waiting, 5)) == [sent]


async def test_an_old_token_gets_everything_after_it(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    sent = [await rooms.send(room_id, BOB) for _ in range(4)]
    alice.sync.views.clear()
    alice.sync.from_memory.commit_log.start_at(alice.sync.from_memory.commit_log.position)
    assert ids(await alice.joined(room_id)) == sent


async def test_a_member_event_changes_the_summary(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    alice = device(ALICE)
    await alice.next()
    await rooms.member(room_id, BOB, "join")
    told = await alice.joined(room_id)
    assert told["summary"] == {"m.heroes": [BOB], "m.joined_member_count": 2, "m.invited_member_count": 0}


async def test_event_fields_and_the_federation_format(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    some = device(ALICE, filter={"event_fields": ["type", "content.body"]})
    some.since = (await some.ask())["next_batch"]
    raw = device(ALICE, filter={"event_format": "federation"}, since=some.since)
    await rooms.send(room_id, BOB, content={"body": "hello", "msgtype": "m.text"})
    told = (await some.ask())["rooms"]["join"][room_id]["timeline"]["events"]
    assert told == [{"type": "m.room.message", "content": {"body": "hello"}}]
    (event,) = (await raw.ask())["rooms"]["join"][room_id]["timeline"]["events"]
    assert {"auth_events", "prev_events", "signatures", "hashes", "unsigned"} <= set(event)
