"""Transactions of another server: how many events a second a homeserver takes in, and what one costs it.

    python -m tests.benchmarks.transactions [--transactions 100] [--rooms 1] [--servers 1] [--version 12]

The homeserver is a process with a PostgreSQL of its own that writes to the disk; the other server is this process,
which has built and signed all events before. It sends 50 at a time, as a server does: the next transaction once the
one before is answered; `--servers` of them at once, each with a room of its own or several, among which the events of a
transaction are spread. `cpu` is what the homeserver's process spends on an event, PostgreSQL aside.
"""

import argparse
import asyncio
import os
import statistics
import time
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

from tests.benchmarks.bench_rooms import bench_folder, run_benchmark
from tests.durability.across import config_in
from tests.durability.api import Api, make_session
from tests.durability.site import Site, run_site
from tests.hospitals import Network
from tests.peer import Peer, run_peer
from tests.peer_room import PeerRoom
from tests.shared_rooms import push
from tim_server.matrix.events.record import Event

PDUS = 50


def cpu_s(site: Site) -> float:
    """CPU seconds that the server's process has taken so far."""
    (pid,) = site.worker_pids()
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def build(rooms: list[PeerRoom], count: int) -> list[list[Event]]:
    """So many transactions of messages, their events in turn of each room."""
    numbers = range(count * PDUS)
    events = [rooms[number % len(rooms)].say(f"message {number}, as people write them on a ward") for number in numbers]
    return [events[start : start + PDUS] for start in range(0, len(events), PDUS)]


async def send(peer: Peer, transactions: list[list[Event]]) -> list[float]:
    """Send one after the other; milliseconds until each was answered."""
    took = []
    for events in transactions:
        began = time.perf_counter()
        answer = await push(peer, "a.example", *events)
        took.append((time.perf_counter() - began) * 1e3)
        assert not any(answer.values()), answer
    return took


async def main(options: argparse.Namespace) -> None:
    """One homeserver, and others made by hand."""
    names = [f"peer{number}.example" for number in range(options.servers)]
    with bench_folder() as folder:
        async with AsyncExitStack() as stack:
            network = Network.of(Path(folder), ["a.example", *names])
            session = await stack.enter_async_context(make_session())
            config = partial(config_in, network, "a.example")
            site = await stack.enter_async_context(run_site(Path(folder) / "a", config=config))
            alice = await Api(session=session, base_url=site.base_url).register("alice")
            peers, batches = [], []
            for seed, name in enumerate(names, start=1):
                peer = await stack.enter_async_context(run_peer(network, name, seed=seed))
                rooms = [PeerRoom.create(peer.author, options.version) for _ in range(options.rooms)]
                for room in rooms:
                    room.serve(peer)
                    await alice.join(room.room_id, via=name)
                peers.append(peer)
                batches.append(build(rooms, options.transactions))
            for peer, batch in zip(peers, batches, strict=True):
                await send(peer, batch[:5])
            used_s, began = cpu_s(site), time.perf_counter()
            took = await asyncio.gather(*(send(p, batch[5:]) for p, batch in zip(peers, batches, strict=True)))
            elapsed_s, used_s = time.perf_counter() - began, cpu_s(site) - used_s
    each = [ms for of_peer in took for ms in of_peer]
    count = PDUS * len(each)
    print(
        f"{count / elapsed_s:6.0f} events/s   a transaction {statistics.median(each):5.1f} ms (median)"
        f" {max(each):5.1f} ms (most)   cpu {used_s / count * 1e6:4.0f} µs an event"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--transactions", type=int, default=100)
    parser.add_argument("--rooms", type=int, default=1)
    parser.add_argument("--servers", type=int, default=1)
    parser.add_argument("--version", default="12")
    run_benchmark(main(parser.parse_args()))
