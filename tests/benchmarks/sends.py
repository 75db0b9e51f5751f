"""Sends at concurrency 1, 16 and 64: through HTTP (a server in a process of its own) and through the room queues alone.

    python -m tests.benchmarks.sends [--seconds 5] [--rooms 16]

PostgreSQL writes to the disk. The client is this process, on the same cores as the server: through HTTP, what it takes
itself is part of the figure (`client` is its share of one core). Last, the ratios: what HTTP costs, and what
concurrency gains.
"""

import argparse
import time

from tests.benchmarks.bench_rooms import (
    Figures,
    bench_folder,
    bench_postgres,
    fresh_schema,
    measure,
    open_rooms,
    run_benchmark,
)
from tests.durability.api import Api, make_session
from tests.durability.site import run_site
from tests.services.rooms.conftest import ALICE

CONCURRENCIES = (1, 16, 64)


async def through_http(options: argparse.Namespace) -> dict[int, Figures]:
    """Figures by concurrency."""
    found = {}
    with bench_folder() as folder:
        async with run_site(folder / "site") as site, make_session() as session:
            api = Api(session, base_url=site.base_url)
            sender = await api.register("sender")
            rooms = [await sender.create_room() for _ in range(options.rooms)]
            for concurrency in CONCURRENCIES:

                async def send(number: int, prefix: str = f"c{concurrency}") -> None:
                    await sender.send(rooms[number % len(rooms)], f"{prefix}.{number}")

                cpu, began = time.process_time(), time.perf_counter()
                figures = found[concurrency] = await measure(send, concurrency=concurrency, seconds=options.seconds)
                share = (time.process_time() - cpu) / (time.perf_counter() - began)
                print(f"HTTP   concurrency {concurrency:2d}: {figures}   client {share:4.0%}")
    return found


async def through_queues(options: argparse.Namespace) -> dict[int, Figures]:
    """Figures by concurrency."""
    found = {}
    with bench_postgres() as postgres:
        async with open_rooms(await fresh_schema(postgres, "bench")) as rooms:
            room_ids = [await rooms.create() for _ in range(options.rooms)]
            for concurrency in CONCURRENCIES:

                async def send(number: int, prefix: str = f"c{concurrency}") -> None:
                    await rooms.send(room_ids[number % len(room_ids)], ALICE, txn_id=f"{prefix}.{number}")

                figures = found[concurrency] = await measure(send, concurrency=concurrency, seconds=options.seconds)
                print(f"queues concurrency {concurrency:2d}: {figures}")
    return found


async def main(options: argparse.Namespace) -> None:
    """Print both, then the ratios."""
    queues, http = await through_queues(options), await through_http(options)
    for concurrency in CONCURRENCIES:
        ratio = queues[concurrency].per_second / http[concurrency].per_second
        print(f"concurrency {concurrency:2d}: queues alone are {ratio:.1f} × HTTP")
    for name, found in (("queues", queues), ("HTTP", http)):
        print(f"{name}: concurrency 64 sends {found[64].per_second / found[1].per_second:.1f} × as many as 1")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--rooms", type=int, default=16)
    run_benchmark(main(parser.parse_args()))
