"""What syncs cost this process (CPU time without PostgreSQL's), over real rooms, without HTTP.

    python -m tests.benchmarks.sync_speed [--rooms 200] [--watchers 100] [--messages 200]

First syncs of a user in many rooms (4 members, 20 events, limit 10), plain and lazy, the first one cold; empty
incremental syncs of the same user; and deliveries to users who all wait in one room: messages, joins, receipts.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import nacl.signing

from tests.services.rooms.conftest import ALICE, Rooms, make_rooms
from tests.services.sync.conftest import build_sync
from tests.services.sync.device import Device
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import EventId, ServerName, UserId
from tim_server.services.sync.sync import Sync
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, DatabaseOptions
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.migrations import migrate, read_migrations
from tim_server.storage.receipts import READ, Receipt, put_receipts
from tim_server.storage.store import open_store

SERVER = ServerName("hospital.example")
REPEATS = 7


async def measured(work: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Milliseconds on the clock and of this process's CPU."""
    started, cpu = time.perf_counter(), time.process_time()
    await work()
    return (time.perf_counter() - started) * 1e3, (time.process_time() - cpu) * 1e3


def user(number: int) -> UserId:
    """A user of the benchmark."""
    return UserId(f"@user{number}:{SERVER}")


async def fill(rooms: Rooms, count: int) -> None:
    """Rooms of 4 members and 20 events each."""

    async def make(number: int) -> None:
        room_id = await rooms.create()
        members = [user(number * 3 + k) for k in range(3)]
        for member in members:
            await rooms.member(room_id, member, "join")
        await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": f"Room {number}"})
        for k in range(12):
            await rooms.send(room_id, members[k % 2])

    await asyncio.gather(*(make(number) for number in range(count)))


async def first_syncs(sync: Sync, state_filter: dict[str, object]) -> None:
    """Print figures of first syncs with a filter that is new each time."""
    figures = []
    for number in range(REPEATS):
        room = {"timeline": {"limit": 10}, "state": state_filter}
        own = {"account_data": {"not_types": [f"x{number}"]}, "room": room}
        device = Device(sync, ALICE, filter=own)
        figures.append(await measured(device.next))
    warm = [statistics.median(figure[part] for figure in figures[1:]) for part in (0, 1)]
    kind = "lazy" if state_filter else "plain"
    print(f"first sync, {kind}: cold {figures[0][0]:.1f} ms, then {warm[0]:.1f} ms (CPU {warm[1]:.1f})")


async def empty_syncs(sync: Sync) -> None:
    """Print figures of incremental syncs that find nothing."""
    device = Device(sync, ALICE)
    await device.next()

    async def ask() -> None:
        for _ in range(500):
            await device.ask()

    clock, cpu = await measured(ask)
    print(f"empty incremental sync: {clock * 2:.0f} µs (CPU {cpu * 2:.0f})")


async def deliveries(sync: Sync, rooms: Rooms, options: argparse.Namespace, state: bool) -> None:
    """Print the cost of each message, or each change of state, to each of many waiting users."""
    room_id = await rooms.create()
    long = {"room": {"timeline": {"limit": 500}}}
    devices = [Device(sync, user(10_000 + number), filter=long) for number in range(options.watchers)]
    for device in devices:
        await rooms.member(room_id, device.user_id, "join")
    for device in devices:
        await device.next()
    messages = options.messages // 10 if state else options.messages

    async def watch(device: Device) -> None:
        seen = 0
        while seen < messages:
            told = await device.ask(timeout_ms=30_000)
            device.since = told["next_batch"]
            joined = told.get("rooms", {}).get("join", {})
            seen += sum(len(room["timeline"]["events"]) for room in joined.values())

    async def send() -> None:
        for number in range(messages):
            if state:
                await rooms.member(room_id, user(20_000 + number), "join")
            else:
                await rooms.send(room_id, ALICE)
            await asyncio.sleep(0.01)

    _, alone_cpu = await measured(send) if not state else (0.0, 0.0)

    async def both() -> None:
        await asyncio.gather(send(), *(watch(device) for device in devices))

    for device in devices:
        await device.next()
    _, cpu = await measured(both)
    each = (cpu - alone_cpu) / (options.watchers * messages) * 1e3
    what = "joins" if state else "messages"
    print(f"{messages} {what} to {options.watchers} users: {each:.0f} µs of CPU each (client's parsing included)")


async def receipts_delivered(sync: Sync, rooms: Rooms, options: argparse.Namespace) -> None:
    """Print the cost of each receipt to each of many waiting users."""
    room_id = await rooms.create()
    devices = [Device(sync, user(30_000 + number)) for number in range(options.watchers)]
    for device in devices:
        await rooms.member(room_id, device.user_id, "join")
    store = rooms.store
    async with store.database.connection() as connection:
        room = await find_room_for_user(connection, room_id, ALICE)
    assert room is not None
    for device in devices:
        await device.next()

    async def watch(device: Device) -> None:
        seen = 0
        while seen < options.messages:
            told = await device.ask(timeout_ms=30_000)
            device.since = told["next_batch"]
            for event in told["rooms"]["join"][room_id]["ephemeral"]["events"]:
                seen += sum(len(users) for kinds in event["content"].values() for users in kinds.values())

    async def read() -> None:
        for number in range(options.messages):
            await store.writer.write(Read(room.room_nid, number))
            await asyncio.sleep(0.01)

    async def both() -> None:
        await asyncio.gather(read(), *(watch(device) for device in devices))

    _, cpu = await measured(both)
    each = cpu / (options.watchers * options.messages) * 1e3
    print(f"{options.messages} receipts to {options.watchers} users: {each:.0f} µs of CPU each (parsing included)")


class Read:
    """A receipt of a user of its own."""

    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    def __init__(self, room_nid: int, number: int) -> None:
        self.receipt = Receipt(
            room_nid=room_nid,
            user_id=user(40_000 + number),
            receipt_type=READ,
            thread_id="",
            event_id=EventId("$" + "e" * 43),
            event_position=1,
            ts=time.time_ns() // 1_000_000,
        )
        self.facts = (self.receipt.as_fact(),)

    async def store(self, tx: Connection, position: int) -> None:
        await put_receipts(tx, (self.receipt,), position)


async def run(options: argparse.Namespace, dsn: str) -> None:
    """Make a server's worth of rooms and measure."""
    async with AsyncExitStack() as stack:
        await migrate(dsn, migrations=read_migrations())
        store = await open_store(DatabaseOptions(dsn=dsn), Codec(), alone=True)
        stack.push_async_callback(store.close)
        key = SigningKey(key_id="ed25519:bench", key=nacl.signing.SigningKey(b"\x02" * 32))
        rooms = make_rooms(store, Author(server_name=SERVER, key=key))
        stack.push_async_callback(rooms.queues.close)
        await fill(rooms, options.rooms)
        sync = build_sync(store)
        stack.push_async_callback(sync.close)
        await first_syncs(sync, {})
        await first_syncs(sync, {"lazy_load_members": True})
        await empty_syncs(sync)
        await deliveries(sync, rooms, options, state=False)
        await deliveries(sync, rooms, options, state=True)
        await receipts_delivered(sync, rooms, options)


def main(options: argparse.Namespace) -> None:
    """Measure over an embedded PostgreSQL."""
    with tempfile.TemporaryDirectory(prefix="tim-bench-") as folder:
        Path(folder).chmod(0o711)
        with EmbeddedPostgres(Path(folder) / "postgres", durable=False) as postgres:
            asyncio.run(run(options, asyncio.run(postgres.provision_tenant("bench"))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rooms", type=int, default=200)
    parser.add_argument("--watchers", type=int, default=100)
    parser.add_argument("--messages", type=int, default=200)
    main(parser.parse_args())
