"""Random things that happen beside events: receipts, typing, presence, account data, messages to devices, device lists,
keys and unread counts. Whatever happens, a device that syncs knows in the end what the database says, whichever process
answers, from memory or from the database, and whatever answers are lost."""

import asyncio
import contextlib
import itertools
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms, make_rooms
from tests.services.sync.conftest import build_sync
from tests.services.sync.knowing import NOBODY, KnowingDevice, message
from tests.services.sync.steps import CAROL, DAVE, put
from tests.services.sync.test_model import act
from tim_server.matrix.end_to_end.one_time_keys import OneTimeKey
from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.presence import OFFLINE, ONLINE, UNAVAILABLE
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.requester import Requester
from tim_server.services.keys.upload import ONE_TIME_KEYS
from tim_server.services.presence.policy import PresencePolicy
from tim_server.services.sync.sync import Sync
from tim_server.services.to_device.queue import TO_DEVICE
from tim_server.services.typing.set_typing import Typing
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, DatabaseOptions
from tim_server.storage.device_lists import mark_changed
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.one_time_keys import add_one_time_keys
from tim_server.storage.receipts import READ, READ_PRIVATE, Receipt, put_receipts
from tim_server.storage.store import Store, open_store
from tim_server.storage.to_device import NewMessage, add_messages

USERS = (ALICE, BOB, CAROL, DAVE)
POLICY = PresencePolicy()
NEWEST_EVENT = (
    "SELECT event_id, position FROM events WHERE room_nid = $1 AND position > $2 ORDER BY position DESC LIMIT 1"
)


@dataclass
class Process:
    """One process: its store and services."""

    store: Store
    rooms: Rooms
    sync: Sync
    typing: Typing

    async def settle(self) -> None:
        """Wait until presence that was heard is settled, and who left a room types there no longer."""
        await self.store.follower.catch_up()
        await asyncio.gather(*self.typing._ends)
        while self.sync.presence._settling is not None:
            await asyncio.shield(self.sync.presence._settling)

    async def close(self) -> None:
        """End it, but for the store."""
        await self.sync.close()
        await self.typing.close()
        await self.sync.presence.close()
        await self.rooms.queues.close()


def start_process(store: Store, rooms: Rooms) -> Process:
    """A process over an open store."""
    sync = build_sync(store, policy=POLICY)
    typing = Typing(database=store.database, writer=store.writer, now_ms=sync.presence.now_ms)
    store.commit_log.subscribe(typing.follow)
    return Process(store=store, rooms=rooms, sync=sync, typing=typing)


@dataclass
class Change:
    """A small write; `work` stores it and gives the facts."""

    work: Callable[[Connection, int], Awaitable[Sequence[Fact]]]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        self.facts = tuple(await self.work(tx, position))


@dataclass
class World:
    """Processes, rooms and devices; `act` lets something happen in one of the processes."""

    processes: Sequence[Process]
    room_ids: Sequence[RoomId]
    devices: Sequence[KnowingDevice]
    chance: random.Random
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def act(self) -> None:
        """Something happens."""
        kinds = (self.event, self.read, self.type, self.be_present, self.note, self.tell, self.change, self.add_key)
        (kind,) = self.chance.choices(kinds, (8, 6, 4, 2, 2, 2, 2, 1))
        await kind(self.chance.choice(self.processes), self.chance.choice(USERS), self.chance.choice(self.room_ids))

    async def event(self, process: Process, _user_id: UserId, room_id: RoomId) -> None:
        await act(process.rooms, self.chance, room_id)

    async def read(self, process: Process, user_id: UserId, room_id: RoomId) -> None:
        kind, thread_id = self.chance.choice([READ, READ, READ_PRIVATE]), self.chance.choice(["", "", "main", "$t"])
        async with process.store.database.connection() as connection:
            room = await find_room_for_user(connection, room_id, user_id)
            if room is None or room.membership != "join":
                return
            newest = await connection.fetchrow(NEWEST_EVENT, room.room_nid, 0)
        receipt = Receipt(
            room_nid=room.room_nid,
            user_id=user_id,
            receipt_type=kind,
            thread_id=thread_id,
            event_id=EventId(newest["event_id"]),
            event_position=newest["position"],
            ts=1,
        )

        async def work(tx: Connection, position: int) -> list[Fact]:
            return [each.as_fact() for each in await put_receipts(tx, (receipt,), position)]

        await process.store.writer.write(Change(work))

    async def type(self, process: Process, user_id: UserId, room_id: RoomId) -> None:
        requester = Requester(user_id=user_id, device_id="D", token_id=1)
        with contextlib.suppress(Forbidden):
            if self.chance.random() < 0.6:
                await process.typing.begin(requester, user_id, room_id, 60_000)
            else:
                await process.typing.end(requester, user_id, room_id)

    async def be_present(self, process: Process, user_id: UserId, _room_id: RoomId) -> None:
        presence = self.chance.choice([ONLINE, UNAVAILABLE, OFFLINE])
        await process.sync.presence.set(user_id, presence, None)

    async def note(self, process: Process, user_id: UserId, room_id: RoomId) -> None:
        place = self.chance.choice(["", room_id])
        await put(process.store, user_id, self.chance.choice("ab"), b'{"n":%d}' % next(self.numbers), place)

    async def tell(self, process: Process, user_id: UserId, _room_id: RoomId) -> None:
        told = [device for device in self.devices if device.user_id == user_id]
        number = next(self.numbers)
        new = [NewMessage(user_id=user_id, device_id=d.device_id, message=message(number)) for d in told]

        async def work(tx: Connection, position: int) -> list[Fact]:
            await add_messages(tx, process.store.codec, user_id, new, position=position)
            for device in told:
                device.sent_to.append(number)
            return []

        await process.store.writer.write(Change(work, (user_id,), (TO_DEVICE,)))

    async def change(self, process: Process, user_id: UserId, _room_id: RoomId) -> None:
        async def work(tx: Connection, position: int) -> list[Fact]:
            return await mark_changed(tx, user_id, position)

        await process.store.writer.write(Change(work, (user_id,), (DEVICES,)))

    async def add_key(self, process: Process, user_id: UserId, _room_id: RoomId) -> None:
        device = self.chance.choice([device for device in self.devices if device.user_id == user_id])
        key = OneTimeKey(algorithm="signed_curve25519", key_id=str(next(self.numbers)), value=b"{}")

        async def work(tx: Connection, position: int) -> list[Fact]:
            await add_one_time_keys(tx, process.store.codec, (user_id, device.device_id), [key], position=position)
            return []

        await process.store.writer.write(Change(work, (user_id,), (ONE_TIME_KEYS,)))


@pytest.fixture
async def processes(
    rooms: Rooms, store: Store, tenant_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[list[Process]]:
    """Two."""
    monkeypatch.setattr("tim_server.services.presence.track.SETTLE_INTERVAL_S", 0.0)
    other_store = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    found = [start_process(store, rooms), start_process(other_store, make_rooms(other_store, rooms.author))]
    yield found
    for process in found:
        await process.close()
    await other_store.close()


async def make_world(processes: Sequence[Process], chance: random.Random) -> World:
    """Three rooms and two devices of each user, who have synced; Dave ignores Bob."""
    store = processes[0].store
    await put(store, DAVE, "m.ignored_user_list", b'{"ignored_users":{"%b":{}}}' % BOB.encode())
    rooms = [await processes[0].rooms.create() for _ in range(3)]
    for user_id in (BOB, CAROL, DAVE):
        await processes[0].rooms.member(rooms[0], user_id, "join")
    devices = [
        KnowingDevice(
            processes[number % 2].sync,
            user_id,
            device_id=f"D{number}-{rooms[0]}",
            filter={"room": {"timeline": {"limit": 50}}},
            ignored=frozenset({str(BOB)}) if user_id == DAVE else NOBODY,
            store=store,
        )
        for number, user_id in enumerate(USERS * 2)
    ]
    for device in devices:
        await device.next()
    return World(processes, rooms, devices, chance)


@pytest.mark.parametrize("seed", range(4))
async def test_devices_know_the_truth_beside_events(processes: list[Process], seed: int) -> None:
    chance = random.Random(seed)
    world = await make_world(processes, chance)
    for _ in range(120):
        for _ in range(chance.randrange(5)):
            await world.act()
        for process in processes:
            await process.settle()
        one, process = chance.choice(world.devices), chance.choice(processes)
        one.sync = process.sync
        if chance.random() < 0.2:
            await one.ask(set_presence=OFFLINE)  # an answer that gets lost
        if chance.random() < 0.05:
            process.sync.views.clear()
        if chance.random() < 0.05:
            process.store.commit_log.start_at(process.store.commit_log.position)
        await one.next(full_state=chance.random() < 0.05)
        assert await one.differences() == []


async def know_in_the_end(device: KnowingDevice, is_over: asyncio.Event) -> None:
    """Sync again and again, and wait for long; once nothing happens any more, until the device knows the truth."""
    while True:
        if is_over.is_set() and not await device.differences():
            return
        await device.next(timeout_ms=60_000)


@pytest.mark.parametrize("seed", range(3))
async def test_devices_that_wait_are_told_without_being_woken_by_the_clock(processes: list[Process], seed: int) -> None:
    chance = random.Random(seed)
    world = await make_world(processes, chance)
    is_over = asyncio.Event()
    polling = [asyncio.create_task(know_in_the_end(device, is_over)) for device in world.devices]
    for _ in range(60):
        await asyncio.gather(*(world.act() for _ in range(chance.randrange(8))))
    for process in processes:
        await process.settle()
    is_over.set()
    _, waiting = await asyncio.wait(polling, timeout=20)
    for task in waiting:
        task.cancel()
    await asyncio.gather(*polling, return_exceptions=True)
    assert [await device.differences() for device in world.devices] == [[]] * len(world.devices)
    assert not waiting
    assert [task.exception() for task in polling] == [None] * len(polling)
