"""What group commit gains: the same sends and small writes, gathered and one a transaction, in one run.

    python -m tests.benchmarks.group_commit [--seconds 4] [--concurrency 64]

PostgreSQL writes to the disk; last, the same without waiting for it, which tells how much of the gain is the disk's.
"""

import argparse
from dataclasses import dataclass

import asyncpg

from tests.benchmarks.bench_rooms import Figures, bench_postgres, fresh_schema, measure, open_rooms, run_benchmark
from tests.services.rooms.conftest import ALICE, Rooms
from tim_server.matrix.identifiers import UserId
from tim_server.services.rooms.queue import QueueOptions
from tim_server.storage.database import Connection
from tim_server.storage.writer import WriterOptions

UPSERT = """
INSERT INTO account_data (user_id, room_id, type, content, position) VALUES ($1, '', 'bench', '{}', $2)
ON CONFLICT (user_id, room_id, type) DO UPDATE SET position = excluded.position
"""


@dataclass(frozen=True, slots=True)
class SmallWrite:
    """A row of one of a thousand users."""

    users: tuple[UserId, ...]
    streams: tuple[str, ...] = ("account_data",)

    async def store(self, tx: Connection, position: int) -> None:
        """Upsert the row."""
        await tx.execute(UPSERT, self.users[0], position)


async def measure_sends(rooms: Rooms, options: argparse.Namespace) -> Figures:
    """Sends into a room for each sender."""
    room_ids = [await rooms.create() for _ in range(options.concurrency)]

    async def send(number: int) -> None:
        await rooms.send(room_ids[number % len(room_ids)], ALICE)

    return await measure(send, concurrency=options.concurrency, seconds=options.seconds)


async def measure_small_writes(rooms: Rooms, options: argparse.Namespace) -> Figures:
    """Account data."""

    async def write(number: int) -> None:
        await rooms.store.writer.write(SmallWrite((UserId(f"@user{number % 1000}:hospital.example"),)))

    return await measure(write, concurrency=options.concurrency, seconds=options.seconds)


async def measure_both(dsn: str, options: argparse.Namespace, *, gathered: bool) -> tuple[Figures, Figures]:
    """Figures of sends and of small writes."""
    async with open_rooms(dsn, WriterOptions(units_per_commit_max=500 if gathered else 1)) as rooms:
        rooms.queues.options = QueueOptions(drafts_per_decision_max=200 if gathered else 1)
        figures = await measure_sends(rooms, options), await measure_small_writes(rooms, options)
    how = "gathered  " if gathered else "one by one"
    for what, each in zip(("sends       ", "small writes"), figures, strict=True):
        print(f"{what} {how}: {each}")
    return figures


async def main(options: argparse.Namespace) -> None:
    """Print the figures, then the ratios."""
    with bench_postgres() as postgres:
        for durable in (True, False):
            role = "durable" if durable else "hasty"
            dsn = await fresh_schema(postgres, role)
            if not durable:
                connection = await asyncpg.connect(dsn)
                await connection.execute(f"ALTER ROLE {role} SET synchronous_commit = off")
                await connection.close()
            print("with the disk" if durable else "without waiting for the disk")
            alone = await measure_both(dsn, options, gathered=False)
            gathered = await measure_both(dsn, options, gathered=True)
            for what, one, many in zip(("sends", "small writes"), alone, gathered, strict=True):
                print(f"{what}: group commit gains {many.per_second / one.per_second:.1f} ×")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--concurrency", type=int, default=64)
    run_benchmark(main(parser.parse_args()))
