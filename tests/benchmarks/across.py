"""Events from one server to another: how many a second somebody at B sees live that people at A send.

    python -m tests.benchmarks.across [--events 3000] [--rooms 8] [--concurrency 32]

Each server is a process with a PostgreSQL of its own that writes to the disk; they speak TLS. The client is this
process, on the same cores. `sent` is the time in which A accepted all, `seen` that in which B's sync told of all; the
ratio says how much of what A takes in B keeps up with. Then one event at a time: how long each takes to be seen. Then
as many as before while B is stopped: how fast B catches up once A hears from it.
"""

import argparse
import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.bench_rooms import bench_folder, run_benchmark
from tests.durability.across import config_in
from tests.durability.api import Account, Api, make_session
from tests.durability.listener import Listener
from tests.durability.site import Site, run_site
from tests.hospitals import Network

NAMES = ("a.example", "b.example")


async def send_all(alice: Account, rooms: list[str], count: int, concurrency: int, prefix: str = "m") -> None:
    """Send so many messages, some at a time, each into the next room."""
    numbers = iter(range(count))

    async def go_on() -> None:
        for number in numbers:
            await alice.send(rooms[number % len(rooms)], f"{prefix}{number}")

    await asyncio.gather(*(go_on() for _ in range(concurrency)))


async def until_seen(listener: Listener, count: int) -> None:
    """Sync until so many events of rooms were told."""
    while sum(map(len, listener.timelines.values())) < count:
        await listener.step()


async def measure(alice: Account, bob: Account, rooms: list[str], options: argparse.Namespace) -> None:
    """Print what a burst gives, and what single events take."""
    listener = Listener(account=bob, timeline_limit=100)
    await listener.step(timeout_ms=0)
    listener.timelines.clear()
    began = time.perf_counter()
    seeing = asyncio.create_task(until_seen(listener, options.events))
    await send_all(alice, rooms, options.events, options.concurrency)
    sent_s = time.perf_counter() - began
    await seeing
    seen_s = time.perf_counter() - began
    print(f"burst: {options.events / sent_s:6.0f} events/s sent, {options.events / seen_s:6.0f} seen", end="")
    print(f"   seen / sent {sent_s / seen_s:4.0%}")
    delays = []
    for number in range(50):
        seen = sum(map(len, listener.timelines.values()))
        began = time.perf_counter()
        seeing = asyncio.create_task(until_seen(listener, seen + 1))
        await alice.send(rooms[0], f"single{number}")
        await seeing
        delays.append((time.perf_counter() - began) * 1e3)
    print(f"single: seen after {statistics.median(delays):.1f} ms (median), {max(delays):.1f} ms (most)")


async def catch_up(alice: Account, bob: Account, there: Site, rooms: list[str], options: argparse.Namespace) -> None:
    """Print how fast B gets what it missed."""
    listener = Listener(account=bob, timeline_limit=100)
    await listener.step(timeout_ms=0)
    listener.timelines.clear()
    await there.stop()
    await send_all(alice, rooms, options.events, options.concurrency, "missed")
    await there.start()
    await bob.send(rooms[0], "back")
    await until_seen(listener, 2)
    began, before = time.perf_counter(), sum(map(len, listener.timelines.values()))
    await until_seen(listener, options.events + 1)
    elapsed_s = time.perf_counter() - began
    print(f"catching up: {(options.events + 1 - before) / elapsed_s:6.0f} events/s seen")


async def main(options: argparse.Namespace) -> None:
    """Two servers, rooms that Bob has joined from B."""
    with bench_folder() as folder:
        async with AsyncExitStack() as stack:
            network = Network.of(Path(folder), NAMES)
            session = await stack.enter_async_context(make_session())
            apis, sites = [], []
            for name in NAMES:
                site = await stack.enter_async_context(
                    run_site(Path(folder) / name, config=partial(config_in, network, name))
                )
                sites.append(site)
                apis.append(Api(session=session, base_url=site.base_url))
            alice, bob = await apis[0].register("alice"), await apis[1].register("bob")
            rooms = [await alice.create_room() for _ in range(options.rooms)]
            for room_id in rooms:
                await bob.join(room_id, via=NAMES[0])
            await measure(alice, bob, rooms, options)
            await catch_up(alice, bob, sites[1], rooms, options)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=3_000)
    parser.add_argument("--rooms", type=int, default=8)
    parser.add_argument("--concurrency", type=int, default=32)
    run_benchmark(main(parser.parse_args()))
