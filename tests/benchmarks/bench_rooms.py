"""What the benchmarks of rooms share: a durable PostgreSQL, queues over a store, and sends at a concurrency."""

import asyncio
import itertools
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import nacl.signing

from tests.services.rooms.conftest import Rooms, make_rooms
from tim_server.cli.event_loop import run
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.signatures import SigningKey
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.migrations import migrate
from tim_server.storage.store import open_store
from tim_server.storage.writer import WriterOptions

SERVER = ServerName("hospital.example")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What a run of sends gave: events a second, and milliseconds that a send took."""

    per_second: float
    p50_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return f"{self.per_second:7.0f} events/s   p50 {self.p50_ms:6.1f} ms   p99 {self.p99_ms:6.1f} ms"


def figures_of(durations_s: list[float], elapsed_s: float) -> Figures:
    """The figures of sends that took so long each, in all."""
    cuts = statistics.quantiles(durations_s, n=100, method="inclusive")
    return Figures(per_second=len(durations_s) / elapsed_s, p50_ms=cuts[49] * 1e3, p99_ms=cuts[98] * 1e3)


async def measure(send: Callable[[int], Awaitable[object]], *, concurrency: int, seconds: float) -> Figures:
    """Call `send` with the numbers from 0 on, so many at a time, for a while; a tenth of the time to warm up."""
    numbers = itertools.count()
    durations: list[float] = []
    begin = time.perf_counter() + seconds / 10
    end = begin + seconds

    async def go_on() -> None:
        while (started := time.perf_counter()) < end:
            await send(next(numbers))
            if started >= begin:
                durations.append(time.perf_counter() - started)

    await asyncio.gather(*(go_on() for _ in range(concurrency)))
    return figures_of(durations, time.perf_counter() - begin)


@asynccontextmanager
async def open_rooms(dsn: str, options: WriterOptions | None = None) -> AsyncIterator[Rooms]:
    """Room queues over a migrated schema, as one process has them."""
    store = await open_store(DatabaseOptions(dsn=dsn), Codec(), options, alone=True)
    key = SigningKey(key_id="ed25519:bench", key=nacl.signing.SigningKey(b"\x01" * 32))
    rooms = make_rooms(store, Author(server_name=SERVER, key=key))
    try:
        yield rooms
    finally:
        await rooms.queues.close()
        await store.close()


@contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder that PostgreSQL's user can pass through."""
    with tempfile.TemporaryDirectory(prefix="tim-bench-") as folder:
        path = Path(folder)
        path.chmod(0o711)
        yield path


@contextmanager
def bench_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that writes to the disk what it acknowledges."""
    with bench_folder() as folder, EmbeddedPostgres(folder / "postgres") as postgres:
        yield postgres


def run_benchmark(main: Coroutine[None, None, None]) -> None:
    """Run it on the event loop that the server uses."""
    run(lambda _stop: main)


async def fresh_schema(postgres: EmbeddedPostgres, role: str) -> str:
    """DSN of a migrated schema."""
    dsn = await postgres.provision_tenant(role)
    await migrate(dsn)
    return dsn
