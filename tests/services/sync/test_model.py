"""Random conversations and devices: whatever happens, no event is skipped, none repeated, and the state is right.

The truth is the rooms' events in the order of their positions. Devices sync at random moments, from memory or from the
database, lose answers and ask again, with small and large timelines, lazily, and with either form of state.
"""

import asyncio
import random
from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms, make_rooms
from tests.services.sync.conftest import MakeDevice, build_sync
from tests.services.sync.device import Device, KeptRoom, StateKey
from tests.services.sync.steps import CAROL, DAVE
from tim_server.matrix.canonical_json import decode
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import RoomId
from tim_server.services.sync.tokens import parse_sync_token
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.store import Store, open_store

USERS = (ALICE, BOB, CAROL, DAVE)
STEPS = 100
EVENTS_OF_ROOM = """
SELECT e.nid FROM events AS e JOIN rooms AS r ON r.nid = e.room_nid WHERE r.room_id = $1 AND e.position <= $2
"""


async def act(rooms: Rooms, chance: random.Random, room_id: RoomId) -> None:
    """Something happens in the room, unless the rules refuse it."""
    user, other = chance.choice(USERS), chance.choice(USERS)
    kind = chance.choices(
        ["message", "topic", "join", "leave", "invite", "kick", "ban", "unban"], [10, 3, 5, 2, 2, 1, 1, 1]
    )[0]
    try:
        if kind == "message":
            await rooms.send(room_id, user)
        elif kind == "topic":
            content = {"topic": str(chance.random())}
            await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content=content)
        elif kind in ("join", "leave"):
            await rooms.member(room_id, user, kind)
        else:
            membership = {"kick": "leave", "unban": "leave"}.get(kind, kind)
            await rooms.member(room_id, ALICE, membership, other)
    except MatrixError:
        pass


async def truth(store: Store, room_id: RoomId, up_to: int) -> list[EventRow]:
    """The room's events up to a position."""
    async with store.database.connection() as connection:
        nids = [row["nid"] for row in await connection.fetch(EVENTS_OF_ROOM, room_id, up_to)]
        return sorted((await load_events(connection, store.codec, nids)).values(), key=lambda row: row.position or 0)


def membership_of(row: EventRow) -> str:
    """What a member event says."""
    return str(decode(row.body)["content"]["membership"])


def last_stay(rows: list[EventRow], user_id: str) -> tuple[list[EventRow], bool]:
    """The events up to where the user last went out, or all; and whether they are in the room."""
    seen: list[EventRow] = []
    is_joined = False
    for index, row in enumerate(rows):
        if row.type == "m.room.member" and row.state_key == user_id:
            joins = membership_of(row) == "join"
            if is_joined and not joins:
                seen = rows[: index + 1]
            is_joined = joins
    return (rows, True) if is_joined else (seen, False)


def check_room(device: Device, kept: KeptRoom, rows: list[EventRow]) -> None:
    """Compare what a device knows with the truth."""
    seen, is_joined = last_stay(rows, device.user_id)
    if not seen:
        return
    assert kept.membership == "join" if is_joined else kept.membership != "join"
    afterwards = {row.event_id for row in rows[len(seen) :]}
    timeline = [event_id for event_id in kept.timeline if event_id not in afterwards]
    own = {row.event_id for row in rows if row.type == "m.room.member" and row.state_key == device.user_id}
    assert set(kept.timeline) - set(timeline) <= own, "events of after the leave were told"
    expected = [row.event_id for row in seen]
    if not is_joined and not timeline:
        return  # invited again since then
    assert timeline == expected[-len(timeline) :], "events were skipped"
    state: dict[StateKey, str] = {(row.type, row.state_key): row.event_id for row in seen if row.state_key is not None}
    told = dict(kept.state)
    for key, event_id in kept.state.items():
        if event_id in afterwards:  # what was done to the user later
            told[key] = state[key]
    if device.filter is not None and device.filter["room"]["state"]:  # type: ignore[index]
        assert {key for key in state.keys() - told.keys() if key[0] != "m.room.member"} == set()
        state = {key: event_id for key, event_id in state.items() if key in told}
        if not is_joined:  # of a room that was joined and left within one answer, only needed members are told
            told = {key: event_id for key, event_id in told.items() if key[0] != "m.room.member"}
            state = {key: event_id for key, event_id in state.items() if key in told}
    assert told == state


async def check(store: Store, device: Device, room_ids: list[RoomId]) -> None:
    """Compare all rooms of a device with the truth."""
    assert device.since is not None
    for room_id in room_ids:
        rows = await truth(store, room_id, parse_sync_token(device.since).position)
        if room_id in device.rooms:
            check_room(device, device.rooms[room_id], rows)
        else:
            assert not last_stay(rows, device.user_id)[1], "a joined room is not told"


def make_devices(device: MakeDevice, chance: random.Random) -> list[Device]:
    """Two devices for each user, each its own kind of client."""
    devices = []
    for number, user_id in enumerate(USERS * 2):
        state: dict[str, Any] = {"lazy_load_members": True} if chance.random() < 0.5 else {}
        room = {"timeline": {"limit": chance.choice([1, 2, 5, 50])}, "state": state}
        devices.append(
            device(user_id, device_id=f"D{number}", filter={"room": room}, state_after=chance.random() < 0.5)
        )
    return devices


@pytest.mark.parametrize("seed", range(4))
async def test_devices_know_the_truth(rooms: Rooms, store: Store, device: MakeDevice, seed: int) -> None:
    chance = random.Random(seed)
    room_ids = [await rooms.create() for _ in range(3)]
    devices = make_devices(device, chance)
    for _ in range(STEPS):
        for _ in range(chance.randrange(5)):
            await act(rooms, chance, chance.choice(room_ids))
        one = chance.choice(devices)
        if chance.random() < 0.2:
            await one.ask()  # an answer that gets lost
        if chance.random() < 0.05:
            one.sync.views.clear()
        if chance.random() < 0.05:
            store.commit_log.start_at(store.commit_log.position)
        await one.next(full_state=chance.random() < 0.05)
        await check(store, one, room_ids)


async def long_poll(device: Device, stop: asyncio.Event) -> None:
    """Sync again and again, as clients do."""
    while not stop.is_set():
        await device.next(timeout_ms=1_000)


async def test_devices_that_wait_know_the_truth(rooms: Rooms, store: Store, device: MakeDevice) -> None:
    chance = random.Random(11)
    room_ids = [await rooms.create() for _ in range(3)]
    devices = make_devices(device, chance)
    stop = asyncio.Event()
    polling = [asyncio.create_task(long_poll(one, stop)) for one in devices]
    for _ in range(40):
        await asyncio.gather(*(act(rooms, chance, chance.choice(room_ids)) for _ in range(chance.randrange(8))))
    stop.set()
    devices[0].sync.views.wake_all()
    await asyncio.gather(*polling)
    for one in devices:
        await one.next()
        await check(store, one, room_ids)


async def test_devices_know_the_truth_whichever_process_answers(
    rooms: Rooms, store: Store, tenant_dsn: str, device: MakeDevice
) -> None:
    chance = random.Random(12)
    other_store = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    other_rooms, other_sync = make_rooms(other_store, rooms.author), build_sync(other_store)
    room_ids = [await rooms.create() for _ in range(3)]
    devices = make_devices(device, chance)
    for _ in range(60):
        for _ in range(chance.randrange(4)):
            await act(chance.choice([rooms, other_rooms]), chance, chance.choice(room_ids))
        one = chance.choice(devices)
        one.sync = chance.choice([one.sync, other_sync])
        await one.next()
        await check(store, one, room_ids)
    await other_sync.close()
    await other_rooms.queues.close()
    await other_store.close()
