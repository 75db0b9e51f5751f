"""Receipts and typing in answers: how they are put together, and that memory and database say the same."""

import asyncio
import json
import random
from collections.abc import Collection, Mapping

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import Device
from tests.services.sync.steps import CAROL, room_of
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.shared_look_ups import SharedLookUps
from tim_server.services.sync.ephemeral import Value, receipt_events, typing_event
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.receipts import READ, READ_PRIVATE, Receipt, put_receipts
from tim_server.storage.store import Store


def value(user_id: UserId, event_id: str, *, kind: str = READ, thread_id: str = "", ts: int = 1) -> Value:
    return (user_id, kind, thread_id, event_id, 1, ts)


def contents(*values: Value) -> list[dict[str, object]]:
    return [json.loads(event)["content"] for event in receipt_events(values)]


def test_receipts_of_many_users_are_one_event() -> None:
    assert contents(value(ALICE, "$a"), value(BOB, "$a"), value(CAROL, "$b", thread_id="main")) == [
        {
            "$a": {"m.read": {ALICE: {"ts": 1}, BOB: {"ts": 1}}},
            "$b": {"m.read": {CAROL: {"ts": 1, "thread_id": "main"}}},
        }
    ]


def test_the_last_receipt_of_a_user_type_and_thread_counts() -> None:
    assert contents(value(ALICE, "$a"), value(ALICE, "$b", ts=2)) == [{"$b": {"m.read": {ALICE: {"ts": 2}}}}]


def test_receipts_at_one_event_for_several_threads_do_not_hide_each_other() -> None:
    threads = [value(ALICE, "$a"), value(ALICE, "$a", thread_id="main"), value(BOB, "$a", thread_id="main")]
    assert contents(*threads) == [
        {"$a": {"m.read": {ALICE: {"ts": 1}, BOB: {"ts": 1, "thread_id": "main"}}}},
        {"$a": {"m.read": {ALICE: {"ts": 1, "thread_id": "main"}}}},
    ]


def test_no_receipts_are_no_event() -> None:
    assert receipt_events([]) == []


def test_who_is_ignored_does_not_type() -> None:
    assert json.loads(typing_event((ALICE, BOB), {BOB})) == {"type": "m.typing", "content": {"user_ids": [ALICE]}}


class Read:
    """Sets one receipt as the service does."""

    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    def __init__(self, receipt: Receipt) -> None:
        self.receipt = receipt

    async def store(self, tx: Connection, position: int) -> None:
        self.facts = tuple(receipt.as_fact() for receipt in await put_receipts(tx, (self.receipt,), position))


async def nid_of(store: Store, room_id: RoomId) -> int:
    async with store.database.connection() as connection:
        room = await find_room_for_user(connection, room_id, ALICE)
    assert room is not None
    return room.room_nid


def keep_receipts(kept: dict[tuple[str, str, str], str], answer: Mapping[str, object], room_id: RoomId) -> None:
    """Take in what an answer tells, as the specification says."""
    rooms = answer.get("rooms", {})
    assert isinstance(rooms, dict)
    told = rooms.get("join", {}).get(room_id, {})
    for event in told.get("ephemeral", {}).get("events", ()):
        for event_id, kinds in event["content"].items():
            for kind, users in kinds.items():
                for user_id, receipt in users.items():
                    kept[user_id, kind, receipt.get("thread_id", "")] = event_id


@pytest.mark.parametrize("seed", range(3))
async def test_devices_know_the_receipts_whoever_answers(
    rooms: Rooms, store: Store, device: MakeDevice, seed: int
) -> None:
    chance = random.Random(seed)
    users = (ALICE, BOB, CAROL)
    room_id = await room_of(rooms, BOB, CAROL)
    room_nid = await nid_of(store, room_id)
    devices: list[Device] = [device(user_id, device_id=f"D{n}") for n, user_id in enumerate(users * 2)]
    kept: list[dict[tuple[str, str, str], str]] = [{} for _ in devices]
    truth: dict[tuple[str, str, str], tuple[int, str]] = {}
    for _ in range(120):
        for _ in range(chance.randrange(4)):
            user_id, reach = chance.choice(users), chance.randrange(1, 40)
            kind, thread_id = chance.choice([READ, READ, READ_PRIVATE]), chance.choice(["", "main", "$t"])
            receipt = Receipt(
                room_nid=room_nid,
                user_id=user_id,
                receipt_type=kind,
                thread_id=thread_id,
                event_id=EventId(f"${reach}"),
                event_position=reach,
                ts=1,
            )
            await store.writer.write(Read(receipt))
            key = (user_id, kind, thread_id)
            truth[key] = max(truth.get(key, (0, "")), (reach, f"${reach}"))
        number = chance.randrange(len(devices))
        if chance.random() < 0.1:
            store.commit_log.start_at(store.commit_log.position)
        if chance.random() < 0.1:
            devices[number].sync.views.clear()
        if chance.random() < 0.05:
            devices[number].since, kept[number] = None, {}
            devices[number].rooms.clear()
        keep_receipts(kept[number], await devices[number].next(), room_id)
        seen_by = devices[number].user_id
        expected = {key: event for key, (_, event) in truth.items() if key[1] == READ or key[0] == seen_by}
        assert kept[number] == expected


async def test_one_look_serves_all_until_something_changes(database: Database) -> None:
    looks: list[list[int]] = []

    async def read(_connection: Connection, keys: Collection[int]) -> dict[int, int]:
        looks.append(sorted(keys))
        number = len(looks)
        await asyncio.sleep(0)
        return dict.fromkeys(keys, number)

    look_ups = SharedLookUps[int, int](database=database, read=read, keys_max=3)
    answers = await asyncio.gather(look_ups.load([1, 2]), look_ups.load([2]), look_ups.load([2, 3]))
    assert answers == [{1: 1, 2: 1}, {2: 1}, {2: 1, 3: 2}]
    look_ups.drop([2])
    assert await look_ups.load([1, 2, 3]) == {1: 1, 2: 3, 3: 2}
    assert looks == [[1, 2], [3], [2]]
    assert await look_ups.load([4, 5, 6, 7]) == dict.fromkeys([4, 5, 6, 7], 4)  # more than are remembered


async def test_a_look_that_fails_is_not_remembered(database: Database) -> None:
    failures = [RuntimeError("once")]

    async def read(_connection: Connection, keys: Collection[int]) -> dict[int, int]:
        if failures:
            raise failures.pop()
        return dict.fromkeys(keys, 0)

    look_ups = SharedLookUps[int, int](database=database, read=read)
    with pytest.raises(RuntimeError):
        await look_ups.load([1])
    await asyncio.sleep(0)
    assert await look_ups.load([1]) == {1: 0}
