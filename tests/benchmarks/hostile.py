"""What a server that means harm costs those who do not: an honest room's latency, and memory, idle and under attack.

    python -m tests.benchmarks.hostile [--seconds 30] [--kinds gaps,forged]

The homeserver is a process as an operator runs it; the attacker another (`attack.py`): events that are forged, that
stand on what can't be had, that are of servers that say nothing; huge, dense and slow bodies; floods of short-lived
data; answers without end. Two people of the homeserver talk in a room that has nothing to do with it: how long a
message takes from being sent until it is seen. The attacker takes a core of this machine as well.
"""

import argparse
import asyncio
import statistics
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from tests.benchmarks.attack import BLACK_HOLE, KINDS, PEER, SLOW_SERVERS, Attacker
from tests.benchmarks.bench_rooms import bench_folder
from tests.durability.across import config_in
from tests.durability.api import Account, Api, make_session
from tests.durability.listener import Listener
from tests.durability.site import Site, run_site
from tests.hospitals import Network
from tests.scenarios.hostile.memory import resident_bytes

NAME = "hospital.example"
MIB = 2**20
PAUSE_S, AFTER_S = 0.1, 10.0


@dataclass(kw_only=True)
class Harm:
    """Milliseconds from sending to seeing, and what the homeserver's process had in memory, at most and in the end."""

    idle_ms: list[float] = field(default_factory=list)
    attacked_ms: list[float] = field(default_factory=list)
    before_bytes: int = 0
    peak_bytes: int = 0
    after_bytes: int = 0
    sent: dict[str, int] = field(default_factory=dict)

    @property
    def growth_bytes(self) -> int:
        return self.peak_bytes - self.before_bytes

    def __str__(self) -> str:
        idle, attacked = _cuts(self.idle_ms), _cuts(self.attacked_ms)
        names = ("median", "95 %", "most")
        latency = "   ".join(
            f"{name} {a:,.0f} -> {b:,.0f} ms (x {b / a:.1f})" for name, a, b in zip(names, idle, attacked, strict=True)
        )
        memory = [round(size / MIB) for size in (self.before_bytes, self.peak_bytes, self.after_bytes)]
        return (
            f"latency: {latency}\nmemory: {memory[0]} MiB before, {memory[1]} at most, {memory[2]} after"
            f"\nattacks: {', '.join(f'{kind} {count}' for kind, count in self.sent.items())}"
        )


def _cuts(values: list[float]) -> tuple[float, float, float]:
    return statistics.median(values), sorted(values)[int(len(values) * 0.95)], max(values)


def prepare_network(folder: Path) -> tuple[Network, Attacker]:
    """The names of all, and the attacker's process, which must begin before an event loop runs here."""
    network = Network.of(folder, [NAME, PEER, BLACK_HOLE])
    network.ports |= dict.fromkeys(SLOW_SERVERS, network.ports[BLACK_HOLE])
    return network, Attacker.spawn(network, NAME)


async def measure_harm(
    folder: Path, network: Network, attacker: Attacker, *, seconds: float, kinds: Sequence[str] = KINDS
) -> Harm:
    """Talk for so long idle, then for so long under attack, and once more when it is over."""
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(make_session())
        site = await stack.enter_async_context(run_site(folder / "site", config=partial(_limited, network)))
        api = Api(session=session, base_url=site.base_url)
        alice, bob = await api.register("alice"), await api.register("bob")
        room_id = await alice.create_room()
        await bob.join(room_id)
        for each in await attacker.rooms():
            await alice.join(each, via=PEER)
        harm = Harm(idle_ms=await talk(alice, bob, room_id, seconds, "idle"))
        harm.before_bytes = harm.peak_bytes = _resident(site)
        watching = asyncio.create_task(_watch(site, harm))
        attacker.begin(kinds)
        await asyncio.sleep(2)
        harm.attacked_ms = await talk(alice, bob, room_id, seconds, "attacked")
        harm.sent = await attacker.end()
        watching.cancel()
        with suppress(asyncio.CancelledError):
            await watching
        await talk(alice, bob, room_id, AFTER_S, "after")
        harm.after_bytes = _resident(site)
        return harm


def _limited(network: Network, site: Site) -> dict[str, Any]:
    site.extra_settings = {**site.extra_settings, "TIM_SERVER__RATE_LIMITS__ENABLED": "true"}
    return config_in(network, NAME, site)


async def talk(alice: Account, bob: Account, room_id: str, seconds: float, name: str) -> list[float]:
    """Messages one after the other: how many milliseconds each took from being sent until Bob's sync told of it."""
    listener = Listener(account=bob, timeline_limit=50)
    await listener.step(timeout_ms=0)
    took: list[float] = []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        seen = asyncio.create_task(listener.step())
        began = time.perf_counter()
        event_id = await alice.send(room_id, f"{name}{len(took)}")
        await seen
        while event_id not in listener.timelines[room_id]:
            await listener.step()
        took.append((time.perf_counter() - began) * 1e3)
        await asyncio.sleep(PAUSE_S)
    return took


def _resident(site: Site) -> int:
    assert site.process is not None
    return resident_bytes(site.process.pid)


async def _watch(site: Site, harm: Harm) -> None:
    while True:
        harm.peak_bytes = max(harm.peak_bytes, _resident(site))
        await asyncio.sleep(0.05)


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--kinds", type=lambda text: text.split(","), default=KINDS)
    options = parser.parse_args()
    with bench_folder() as name:
        folder = Path(name)
        network, attacker = prepare_network(folder)
        print(asyncio.run(measure_harm(folder, network, attacker, seconds=options.seconds, kinds=options.kinds)))


if __name__ == "__main__":
    main()
