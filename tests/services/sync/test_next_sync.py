"""Incremental syncs: what has changed since a token."""

import asyncio
from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import Device, ids, keys
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.rooms.draft import RedactionTarget
from tim_server.services.sync.from_memory import FromMemory
from tim_server.storage.account_data import put_account_data
from tim_server.storage.database import Connection
from tim_server.storage.events import load_events_by_id
from tim_server.storage.memberships import forget_room
from tim_server.storage.store import Store

CAROL = UserId("@carol:hospital.example")


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


async def room_of(rooms: Rooms, *members: UserId) -> RoomId:
    room_id = await rooms.create()
    for member in members:
        await rooms.member(room_id, member, "join")
    return room_id


async def put(store: Store, user_id: UserId, event_type: str, content: bytes, room_id: str = "") -> None:
    """Set account data as the service does."""

    class Put:
        users = (user_id,)
        streams = ("account_data",)

        async def store(self, tx: Connection, position: int) -> None:
            await put_account_data(
                tx, user_id, room_id=room_id, event_type=event_type, stored=b"\x00" + content, position=position
            )

    await store.writer.write(Put())


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


async def test_memory_and_database_tell_the_same(rooms: Rooms, device: MakeDevice, asked: list[bool]) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    await rooms.send(room_id, BOB)
    await rooms.send(room_id, ALICE, txn_id="mine")
    from_memory = await alice.ask()
    alice.sync.views.clear()
    from_database = await alice.ask()
    assert asked == [True, False]
    for answer in (from_memory, from_database):
        for event in answer["rooms"]["join"][room_id]["timeline"]["events"]:
            event["unsigned"].pop("age")
    assert from_memory == from_database
    assert from_memory["rooms"]["join"][room_id]["timeline"]["events"][1]["unsigned"]["transaction_id"] == "mine"


async def test_a_waiting_sync_answers_when_something_comes(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    alice = device(ALICE)
    await alice.next()
    waiting = asyncio.create_task(alice.joined(room_id, timeout_ms=20_000))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    sent = await rooms.send(room_id, BOB)
    assert ids(await asyncio.wait_for(waiting, 5)) == [sent]


async def test_a_wait_that_is_over_advances_the_token(rooms: Rooms, device: MakeDevice) -> None:
    await room_of(rooms)
    alice = device(ALICE)
    await alice.next()
    before = alice.since
    await room_of(rooms, BOB)  # a room of Alice's that the filter hides
    alice.filter = {"room": {"rooms": []}}
    answer = await alice.next(timeout_ms=200)
    assert "rooms" not in answer
    assert answer["next_batch"] != before


async def test_what_does_not_concern_a_user_does_not_wake_them(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    bob = device(BOB)
    await bob.next()
    view = bob.sync.views.get(BOB)
    assert view is not None
    waiting = asyncio.create_task(bob.next(timeout_ms=300))
    await asyncio.sleep(0.05)
    await rooms.send(room_id, ALICE)
    assert len(view.waiting) == 1
    assert "rooms" not in await waiting


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


async def test_a_room_that_was_joined_since_comes_whole(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, CAROL)
    before = await rooms.send(room_id, ALICE)
    bob = device(BOB, filter={"room": {"timeline": {"limit": 2}}})
    await bob.next()
    joined = await rooms.member(room_id, BOB, "join")
    told = await bob.joined(room_id)
    assert ids(told) == [before, joined]
    assert told["timeline"]["limited"] is True
    assert {("m.room.create", ""), ("m.room.member", CAROL), ("m.room.member", ALICE)} <= keys(told)
    assert told["summary"]["m.joined_member_count"] == 3


async def test_history_before_the_join_is_hidden_where_the_room_hides_it(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    visibility = {"history_visibility": "joined"}
    await rooms.send(room_id, ALICE, "m.room.history_visibility", state_key="", content=visibility)
    await rooms.send(room_id, ALICE)
    bob = device(BOB)
    await bob.next()
    joined = await rooms.member(room_id, BOB, "join")
    told = await bob.joined(room_id)
    assert ids(told)[-1] == joined
    assert "m.room.message" not in {event["type"] for event in told["timeline"]["events"]}


async def test_a_leave_is_told_with_what_came_before_it_and_nothing_after(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB)
    await bob.next()
    seen = await rooms.send(room_id, ALICE)
    left = await rooms.member(room_id, BOB, "leave")
    await rooms.send(room_id, ALICE)
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "secret"})
    answer = await bob.next()
    told = answer["rooms"]["leave"][room_id]
    assert ids(told) == [seen, left]
    assert told["state"] == {"events": []}
    await rooms.send(room_id, ALICE)
    assert "rooms" not in await bob.next()


async def test_a_ban_is_told_as_a_leave(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB)
    await bob.next()
    banned = await rooms.member(room_id, ALICE, "ban", BOB)
    told = (await bob.next())["rooms"]["leave"][room_id]
    assert ids(told) == [banned]


async def test_leaving_and_coming_back_gives_the_whole_room(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB, filter={"room": {"timeline": {"limit": 1}}})
    await bob.next()
    await rooms.member(room_id, BOB, "leave")
    away = await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    await rooms.member(room_id, BOB, "join")
    told = await bob.joined(room_id)
    assert away in ids(told, "state")
    assert ("m.room.create", "") in keys(told)


async def test_a_forgotten_room_is_not_among_the_left(rooms: Rooms, device: MakeDevice, store: Store) -> None:
    room_id = await room_of(rooms, BOB)
    await rooms.member(room_id, BOB, "leave")
    async with store.database.transaction() as tx:
        await forget_room(tx, BOB, room_id, 1)
    answer = await device(BOB, filter={"room": {"include_leave": True}}).next()
    assert room_id not in answer.get("rooms", {}).get("leave", {})


async def test_an_invite_comes_with_stripped_state(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, CAROL)
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    bob = device(BOB)
    await bob.next()
    waiting = asyncio.create_task(bob.next(timeout_ms=10_000))
    await asyncio.sleep(0.05)
    await rooms.member(room_id, ALICE, "invite", BOB)
    told = (await asyncio.wait_for(waiting, 5))["rooms"]["invite"][room_id]["invite_state"]["events"]
    found = {(event["type"], event["state_key"]) for event in told}
    assert found == {
        ("m.room.create", ""),
        ("m.room.name", ""),
        ("m.room.join_rules", ""),
        ("m.room.member", ALICE),
        ("m.room.member", BOB),
    }
    assert all(set(event) == {"type", "state_key", "sender", "content"} for event in told)
    assert told[-1]["content"]["membership"] == "invite"


async def test_an_invite_that_is_declined_is_told_as_a_leave(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    await rooms.member(room_id, ALICE, "invite", BOB)
    bob = device(BOB)
    await bob.next()
    declined = await rooms.member(room_id, BOB, "leave")
    told = (await bob.next())["rooms"]["leave"][room_id]
    assert ids(told) == [declined]
    assert told["state"] == {"events": []}


async def test_account_data_comes_once(rooms: Rooms, device: MakeDevice, store: Store) -> None:
    room_id = await room_of(rooms)
    alice = device(ALICE)
    await alice.next()
    waiting = asyncio.create_task(alice.next(timeout_ms=10_000))
    await asyncio.sleep(0.05)
    await put(store, ALICE, "org.example", b'{"a":1}')
    answer = await asyncio.wait_for(waiting, 5)
    assert answer["account_data"]["events"] == [{"type": "org.example", "content": {"a": 1}}]
    await put(store, ALICE, "m.tag", b'{"tags":{}}', room_id)
    told = await alice.joined(room_id)
    assert told["account_data"]["events"] == [{"type": "m.tag", "content": {"tags": {}}}]
    assert ids(told) == []
    assert "account_data" not in await alice.next()


async def test_messages_of_ignored_users_are_not_told(rooms: Rooms, device: MakeDevice, store: Store) -> None:
    room_id = await room_of(rooms, BOB, CAROL)
    carol = device(CAROL)
    await carol.next()
    await put(store, CAROL, "m.ignored_user_list", b'{"ignored_users":{"@bob:hospital.example":{}}}')
    await carol.next()
    await rooms.send(room_id, BOB)
    assert "rooms" not in await carol.next()
    heard = await rooms.send(room_id, ALICE)
    left = await rooms.member(room_id, BOB, "leave")
    assert ids(await carol.joined(room_id)) == [heard, left]
    other_room = await rooms.create()
    await rooms.member(other_room, BOB, "join")
    await rooms.member(other_room, BOB, "invite", CAROL)
    assert "invite" not in (await carol.next()).get("rooms", {})


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


async def test_a_stopping_server_answers_those_who_wait(rooms: Rooms, device: MakeDevice) -> None:
    await room_of(rooms)
    alice = device(ALICE)
    await alice.next()
    stopping = asyncio.Event()
    waiting = asyncio.create_task(alice.next(timeout_ms=20_000, stopping=stopping))
    await asyncio.sleep(0.05)
    stopping.set()
    assert "rooms" not in await asyncio.wait_for(waiting, 2)


async def test_too_many_waiting_syncs_end_the_oldest(rooms: Rooms, device: MakeDevice) -> None:
    await room_of(rooms)
    alice = device(ALICE)
    await alice.next()
    others = [Device(alice.sync, ALICE, since=alice.since) for _ in range(50)]
    first = asyncio.create_task(alice.next(timeout_ms=20_000))
    await asyncio.sleep(0.05)
    tasks = [asyncio.create_task(other.next(timeout_ms=20_000)) for other in others]
    await asyncio.wait_for(first, 2)
    assert not any(task.done() for task in tasks)
    alice.sync.views.wake_all()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


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
