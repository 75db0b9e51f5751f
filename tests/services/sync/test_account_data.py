"""Account data in answers, and what it does to them."""

import asyncio

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids
from tests.services.sync.steps import CAROL, put, room_of
from tim_server.matrix.filters import Filter
from tim_server.matrix.identifiers import UserId
from tim_server.services.sync.request import STATE, Reading
from tim_server.services.sync.sync import Sync
from tim_server.services.sync.tokens import parse_sync_token
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.store import Store

DAN = UserId("@dan:hospital.example")


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


def slow_reading(user_id: UserId, since: str) -> Reading:
    """What another device of the user's asks for."""
    return Reading(
        user_id=user_id,
        device_id="SLOW",
        filter=Filter(),
        since=parse_sync_token(since).position,
        to_device_since=None,
        full_state=False,
        state_keys=STATE,
        timeline_limit=10,
    )


async def test_an_answer_that_takes_long_does_not_bring_ignored_users_back(
    rooms: Rooms, device: MakeDevice, sync: Sync, store: Store
) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB)
    await bob.next()
    assert bob.since is not None
    slow = slow_reading(BOB, bob.since)
    async with store.database.read() as tx:
        await read_newest_position(tx)
        await put(store, BOB, "m.ignored_user_list", b'{"ignored_users":{"@alice:hospital.example":{}}}')
        await bob.next()
        await sync.from_database._load(tx, slow)
    await rooms.send(room_id, ALICE)
    assert "rooms" not in await bob.next()


async def test_what_was_read_before_a_user_was_ignored_is_not_remembered_after_it(
    rooms: Rooms, device: MakeDevice, sync: Sync, store: Store
) -> None:
    room_id = await room_of(rooms, DAN)
    dan = device(DAN)
    await dan.next()
    assert dan.since is not None
    sync.views.drop(DAN)
    async with store.database.read() as tx:
        await read_newest_position(tx)
        await put(store, DAN, "m.ignored_user_list", b'{"ignored_users":{"@alice:hospital.example":{}}}')
        await sync.from_database._load(tx, slow_reading(DAN, dan.since))
    dan.since = f"s{store.commit_log.position}"
    await rooms.send(room_id, ALICE)
    assert "rooms" not in await dan.next()
