"""What an everyday client asks of a server, beside another server in one run: any homeserver that runs will do.

    python -m tests.benchmarks.everyday --server ours=http://127.0.0.1:8008,SECRET,PID \\
        --server other=http://127.0.0.1:18008,SECRET,PID [--only receipts,keys] [--members 2000] [--rooms 50,500]

`SECRET` is the server's registration secret, `PID` its process; rate limits must be off. Scenarios run on one server
after the other. Last, the ratios: the first server's figures to those of each other.

receipts  100 members sync; each of 40 messages, 2 a second, is acknowledged by 25 of them
keys      /keys/query of 500 users
to_device one call with a message to each of 500 devices, and their fetching
members   /members and /joined_members of a large room
cost      what a message costs in rooms of several sizes, in which nobody syncs
"""

import argparse
import asyncio
import base64
import contextlib
import os
import re
import statistics
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any, TypeAlias
from urllib.parse import quote

import aiohttp
import nacl.signing
import orjson

from tests.benchmarks.black_box import Target, User, in_parallel, timed_ms
from tim_server.matrix.canonical_json import encode

Figures: TypeAlias = dict[str, float]

READERS, ACKNOWLEDGING, MESSAGES, MESSAGES_PER_S = 100, 25, 40, 2
SETTLING_S = 3.0
DEVICES, CALLS, REPEATS = 500, 10, 5
MESSAGES_OF_COST = 100
NUMBER, NEXT_BATCH = re.compile(rb'"bench\.number":\s*(\d+)'), re.compile(rb'"next_batch":\s*"([^"]+)"')
LONG_TIMELINE = '{"room":{"timeline":{"limit":500}}}'
ONLY_TO_DEVICE = '{"room":{"rooms":[]},"presence":{"types":[]},"account_data":{"types":[]}}'


class Reader:
    """Syncs, notes when each numbered message arrives, and acknowledges it if it is one of those who do."""

    def __init__(self, target: Target, user: User, room_id: str, *, acknowledges: bool) -> None:
        self._target, self._user, self._room_id, self._acknowledges = target, user, room_id, acknowledges
        self.seen: dict[int, float] = {}
        self.ready, self.has_all = asyncio.Event(), asyncio.Event()
        self.syncs = 0
        self._receipts: set[asyncio.Task[bytes]] = set()

    async def run(self) -> None:
        """Until cancelled."""
        since = ""
        while True:
            query = {"timeout": "30000", "since": since} if since else {"timeout": "0"}
            body = await self._target.raw("GET", "sync", self._user, filter=LONG_TIMELINE, **query)
            now = time.perf_counter()
            self.syncs += 1
            for number in map(int, NUMBER.findall(body)):
                self.seen.setdefault(number, now)
                if self._acknowledges and since:
                    self._acknowledge(body)
            match = NEXT_BATCH.search(body)
            assert match is not None
            since = match[1].decode()
            self.ready.set()
            if len(self.seen) == MESSAGES:
                self.has_all.set()

    def _acknowledge(self, body: bytes) -> None:
        rooms = orjson.loads(body)["rooms"]["join"]
        event_id = rooms[self._room_id]["timeline"]["events"][-1]["event_id"]
        path = f"rooms/{quote(self._room_id)}/receipt/m.read/{quote(event_id)}"
        task = asyncio.create_task(self._target.raw("POST", path, self._user, {}))
        self._receipts.add(task)
        task.add_done_callback(self._receipts.discard)


async def receipts(target: Target, options: argparse.Namespace) -> Figures:
    """Fan-out of messages while receipts flow."""
    sender, *others = await target.provide_users(READERS + 1)
    room_id = await target.provide_room([sender, *others])
    readers = [Reader(target, user, room_id, acknowledges=n < ACKNOWLEDGING) for n, user in enumerate(others)]
    tasks = [asyncio.create_task(reader.run()) for reader in readers]
    try:
        await asyncio.gather(*(reader.ready.wait() for reader in readers))
        await asyncio.sleep(SETTLING_S)
        cpu, syncs = target.cpu_s(), sum(reader.syncs for reader in readers)
        started = await _send_steadily(target, sender, room_id)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(60):
                await asyncio.gather(*(reader.has_all.wait() for reader in readers))
        await asyncio.sleep(SETTLING_S)
        spent = target.cpu_s() - cpu
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    late = sorted((at - started[number]) * 1e3 for reader in readers for number, at in reader.seen.items())
    return {
        "p50 ms": late[len(late) // 2],
        "p99 ms": late[int(len(late) * 0.99)],
        "delivered": len(late),
        "syncs": sum(reader.syncs for reader in readers) - syncs,
        "CPU ms a delivery": spent * 1e3 / len(late),
    }


async def _send_steadily(target: Target, sender: User, room_id: str) -> dict[int, float]:
    """Open loop: when each message was sent."""
    began, started = time.perf_counter(), {}
    async with asyncio.TaskGroup() as group:
        for number in range(MESSAGES):
            await asyncio.sleep(max(0.0, began + number / MESSAGES_PER_S - time.perf_counter()))
            started[number] = time.perf_counter()
            content = {"body": f"message {number}", "bench.number": number}
            group.create_task(target.send(sender, room_id, content))
    return started


async def keys(target: Target, options: argparse.Namespace) -> Figures:
    """`/keys/query` of many users, each time by another."""
    users = await target.provide_users(DEVICES)
    await in_parallel(users, lambda user: target.raw("POST", "keys/upload", user, _device_keys(user)))
    body = {"device_keys": {user.user_id: [] for user in users}}
    cpu = target.cpu_s()
    taken = [await timed_ms(target.raw("POST", "keys/query", user, body)) for user in users[:REPEATS]]
    spent = target.cpu_s() - cpu
    answer = await target.call("POST", "keys/query", users[0], body)
    assert len(answer["device_keys"]) == DEVICES
    return {"first ms": taken[0], "median ms": statistics.median(taken), "CPU ms": spent * 1e3 / REPEATS}


def _device_keys(user: User) -> dict[str, Any]:
    key = nacl.signing.SigningKey.generate()
    name = f"ed25519:{user.device_id}"
    unsigned = {
        "user_id": user.user_id,
        "device_id": user.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {name: _base64(bytes(key.verify_key)), f"curve25519:{user.device_id}": _base64(os.urandom(32))},
    }
    signature = _base64(key.sign(encode(unsigned)).signature)
    return {"device_keys": {**unsigned, "signatures": {user.user_id: {name: signature}}}}


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode().rstrip("=")


async def to_device(target: Target, options: argparse.Namespace) -> Figures:
    """Calls with a message to each of many devices, which then fetch them."""
    users = await target.provide_users(DEVICES)
    tokens = await in_parallel(users, lambda user: _sync_token(target, user))
    body = {"messages": {user.user_id: {user.device_id: {"ciphertext": "x" * 700}} for user in users}}
    run, cpu = time.time_ns(), target.cpu_s()
    taken = [
        await timed_ms(target.raw("PUT", f"sendToDevice/bench.message/{run}.{number}", users[number], body))
        for number in range(CALLS)
    ]
    sent, began = target.cpu_s() - cpu, time.perf_counter()
    fetched = await in_parallel(zip(users, tokens, strict=True), lambda pair: _fetch(target, *pair), concurrency=16)
    assert sum(fetched) == CALLS * DEVICES, sum(fetched)
    return {
        "median ms": statistics.median(taken),
        "CPU ms a call": sent * 1e3 / CALLS,
        "fetched a second": sum(fetched) / (time.perf_counter() - began),
    }


async def _sync_token(target: Target, user: User) -> str:
    answer = await target.call("GET", "sync", user, filter=ONLY_TO_DEVICE, set_presence="offline")
    return str(answer["next_batch"])


async def _fetch(target: Target, user: User, since: str) -> int:
    count = 0
    while True:
        query = {"filter": ONLY_TO_DEVICE, "since": since, "set_presence": "offline"}
        answer = await target.call("GET", "sync", user, **query)
        messages = answer.get("to_device", {}).get("events", [])
        if not messages:
            return count
        count, since = count + len(messages), answer["next_batch"]


async def members(target: Target, options: argparse.Namespace) -> Figures:
    """Lists of the members of a large room."""
    users = await target.provide_users(options.members)
    room_id = await target.provide_room(users)
    figures = {}
    for path in ("members", "joined_members"):
        taken = [await timed_ms(target.raw("GET", f"rooms/{quote(room_id)}/{path}", user)) for user in users[:REPEATS]]
        figures |= {f"{path} first ms": taken[0], f"{path} median ms": statistics.median(taken)}
    return figures


async def cost(target: Target, options: argparse.Namespace) -> Figures:
    """What a message costs the server, by the size of the room."""
    figures = {}
    for size in options.rooms:
        users = await target.provide_users(size)
        room_id = await target.provide_room(users)
        await target.send(users[0], room_id, {"body": "the first message, for which caches fill"})
        cpu, taken = target.cpu_s(), []
        for number in range(MESSAGES_OF_COST):
            content = {"body": f"message {number} of many, with some words in it"}
            taken.append(await timed_ms(target.send(users[number % 5], room_id, content)))
        figures[f"{size} p50 ms"] = statistics.median(taken)
        figures[f"{size} CPU ms"] = (target.cpu_s() - cpu) * 1e3 / MESSAGES_OF_COST
    return figures


SCENARIOS: dict[str, Callable[[Target, argparse.Namespace], Awaitable[Figures]]] = {
    "receipts": receipts,
    "keys": keys,
    "to_device": to_device,
    "members": members,
    "cost": cost,
}


def read_options() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", action="append", required=True, metavar="NAME=URL,SECRET,PID")
    parser.add_argument("--only", type=lambda text: text.split(","), default=list(SCENARIOS))
    parser.add_argument("--members", type=int, default=2_000)
    parser.add_argument("--rooms", type=lambda text: [int(size) for size in text.split(",")], default=[50, 500])
    return parser.parse_args()


async def main() -> None:
    """Run the scenarios on each server, and print figures and ratios."""
    options = read_options()
    async with AsyncExitStack() as stack:
        targets = []
        for given in options.server:
            name, _, rest = given.partition("=")
            base_url, secret, pid = rest.rsplit(",", 2)
            connector = aiohttp.TCPConnector(limit=0)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            targets.append(Target(name=name, base_url=base_url, secret=secret, pids=[int(pid)], session=session))
        for scenario in options.only:
            await _compare(scenario, targets, options)


async def _compare(scenario: str, targets: Sequence[Target], options: argparse.Namespace) -> None:
    figures = []
    for target in targets:
        figures.append(await SCENARIOS[scenario](target, options))
        told = "  ".join(f"{name} {value:.3g}" for name, value in figures[-1].items())
        print(f"{scenario:10} {target.name:10} {told}", flush=True)
    for target, others in zip(targets[1:], figures[1:], strict=True):
        ratios = "  ".join(f"{name} {figures[0][name] / value:.3g}" for name, value in others.items() if value)
        print(f"{scenario:10} {targets[0].name} / {target.name}: {ratios}", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
