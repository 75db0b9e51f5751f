"""Syncs that wait: woken by what concerns them, and by nothing else."""

import asyncio

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import Device, ids
from tests.services.sync.steps import room_of


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
