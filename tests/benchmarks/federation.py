"""What two homeservers that federate do for their users, beside another pair in one run: any that run will do.

    python -m tests.benchmarks.federation --pair ours=http://127.0.0.1:8108,http://127.0.0.1:8109,SECRET,PID,PID \\
        --pair other=http://127.0.0.1:18008,http://127.0.0.1:18009,SECRET,PID,PID [--only delivery,join]

Of each pair: where clients reach A and B, the registration secret of both, their processes. Rate limits must be off.
Scenarios run on one pair after the other. Last, the ratios: the first pair's figures to those of each other.

latency   messages one at a time: from sending at A to a waiting client at B
delivery  50 users of A send as fast as they can; a client at B sees all of it live
join      somebody of B joins a room of 500 members at A, again and again with a new room; until the answer, and until
          all members are known (a server may answer before it knows them)
"""

import argparse
import asyncio
import contextlib
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import quote

import aiohttp

from tests.benchmarks.black_box import Target, User, in_parallel, timed_ms

Figures: TypeAlias = dict[str, float]

SENDERS, CONCURRENCY, JOINS = 50, 16, 5
NUMBER, NEXT_BATCH = re.compile(rb'"bench\.number":\s*(\d+)'), re.compile(rb'"next_batch":\s*"([^"]+)"')
LONG_TIMELINE = '{"room":{"timeline":{"limit":1000}}}'
PATIENCE_S = 180.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two servers that federate."""

    name: str
    a: Target
    b: Target

    async def join(self, user: User, room_id: str, host: User) -> None:
        """Somebody of B joins a room at A."""
        via = host.user_id.partition(":")[2]
        await self.b.call("POST", f"join/{quote(room_id)}", user, {}, via=via, server_name=via)

    def cpu_s(self) -> float:
        """CPU seconds that both have taken so far."""
        return self.a.cpu_s() + self.b.cpu_s()


class Reader:
    """Syncs at B and notes when each numbered message arrives; pages back where a timeline was limited."""

    def __init__(self, target: Target, user: User, room_id: str) -> None:
        self._target, self._user, self._room_id = target, user, room_id
        self.seen: dict[int, float] = {}
        self.ready, self.more = asyncio.Event(), asyncio.Event()

    async def run(self) -> None:
        """Until cancelled."""
        since = ""
        while True:
            query = {"timeout": "30000", "since": since} if since else {"timeout": "0"}
            body = await self._target.raw("GET", "sync", self._user, filter=LONG_TIMELINE, **query)
            now = time.perf_counter()
            for number in map(int, NUMBER.findall(body)):
                self.seen.setdefault(number, now)
            match = NEXT_BATCH.search(body)
            assert match is not None
            since = match[1].decode()
            self.ready.set()
            self.more.set()

    async def has(self, count: int) -> None:
        """Wait until so many messages have come."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                while len(self.seen) < count:
                    self.more.clear()
                    await self.more.wait()


async def _deliver(pair: Pair, count: int, concurrency: int) -> tuple[dict[int, float], dict[int, float], float]:
    """When each of `count` messages was sent at A and seen at B, and what that took of CPU seconds."""
    senders = await pair.a.provide_users(SENDERS)
    (bob,) = await pair.b.provide_users(1)
    room_id = await pair.a.provide_room(senders)
    await pair.join(bob, room_id, senders[0])
    reader = Reader(pair.b, bob, room_id)
    task = asyncio.create_task(reader.run())
    started: dict[int, float] = {}

    async def send(number: int) -> None:
        started[number] = time.perf_counter()
        await pair.a.send(senders[number % SENDERS], room_id, {"body": f"message {number}", "bench.number": number})
        if concurrency == 1:
            await reader.has(number + 1)

    try:
        await reader.ready.wait()
        await asyncio.sleep(2)
        cpu = pair.cpu_s()
        await in_parallel(range(count), send, concurrency=concurrency)
        await reader.has(count)
        cpu = pair.cpu_s() - cpu
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return started, reader.seen, cpu


async def latency(pair: Pair, options: argparse.Namespace) -> Figures:
    """From A to B, nothing else going on."""
    started, seen, _ = await _deliver(pair, 40, 1)
    late = sorted((at - started[number]) * 1e3 for number, at in seen.items())
    return {"p50 ms": statistics.median(late), "p90 ms": late[int(len(late) * 0.9)], "delivered": len(late)}


async def delivery(pair: Pair, options: argparse.Namespace) -> Figures:
    """As fast as it goes."""
    started, seen, cpu = await _deliver(pair, options.messages, CONCURRENCY)
    took = max(seen.values()) - min(started.values())
    return {
        "events/s": len(seen) / took,
        "delivered": len(seen),
        "CPU ms an event": cpu * 1e3 / len(seen),
    }


async def join(pair: Pair, options: argparse.Namespace) -> Figures:
    """Somebody of B joins rooms of A."""
    members = await pair.a.provide_users(options.members)
    newcomers = await pair.b.provide_users(JOINS)
    took: list[float] = []
    known: list[float] = []
    cpu = 0.0
    for newcomer in newcomers:
        room_id = await pair.a.provide_room(members)
        await asyncio.sleep(1)
        before = pair.cpu_s()
        took.append(await timed_ms(pair.join(newcomer, room_id, members[0])))
        known.append(took[-1] + await timed_ms(_members_known(pair, newcomer, room_id, len(members) + 1)))
        cpu += pair.cpu_s() - before
    return {
        "median ms": statistics.median(took),
        "first ms": took[0],
        "members known ms": statistics.median(known),
        "CPU ms": cpu * 1e3 / JOINS,
    }


async def _members_known(pair: Pair, user: User, room_id: str, count: int) -> None:
    """Ask until the user's client can know all members, without whom it can't encrypt for them."""
    known = 0
    while known < count:
        known = len((await pair.b.call("GET", f"rooms/{quote(room_id)}/joined_members", user))["joined"])


SCENARIOS: dict[str, Callable[[Pair, argparse.Namespace], Awaitable[Figures]]] = {
    "latency": latency,
    "delivery": delivery,
    "join": join,
}


async def run(options: argparse.Namespace) -> None:
    """Each scenario on each pair, then the ratios."""
    async with AsyncExitStack() as stack:
        connector = aiohttp.TCPConnector(limit=0)
        session = await stack.enter_async_context(
            aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=PATIENCE_S))
        )
        pairs = [_pair(text, session) for text in options.pair]
        for name in options.only:
            results = {pair.name: await SCENARIOS[name](pair, options) for pair in pairs}
            for pair_name, figures in results.items():
                print(f"{name:10}{pair_name:12}" + "  ".join(f"{key} {value:,.2f}" for key, value in figures.items()))
            first, *others = results.items()
            for other_name, figures in others:
                ratios = "  ".join(f"{key} {first[1][key] / figures[key]:.3f}" for key in figures if figures[key])
                print(f"{name:10}{first[0]} / {other_name}: {ratios}", flush=True)


def _pair(text: str, session: aiohttp.ClientSession) -> Pair:
    name, _, rest = text.partition("=")
    url_a, url_b, secret, pid_a, pid_b = rest.split(",")

    def target(url: str, pid: str) -> Target:
        return Target(name=name, base_url=url, secret=secret, pids=[int(pid)], session=session)

    return Pair(name=name, a=target(url_a, pid_a), b=target(url_b, pid_b))


def main(arguments: Sequence[str] | None = None) -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pair", action="append", required=True, help="NAME=URL_A,URL_B,SECRET,PID_A,PID_B")
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*SCENARIOS])
    parser.add_argument("--messages", type=int, default=500)
    parser.add_argument("--members", type=int, default=500)
    asyncio.run(run(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
