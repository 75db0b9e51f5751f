"""Whether the resolution of a fork of 2,000 state events in one room delays sends in another.

    python -m tests.benchmarks.fork_beside_sends [--events 2000] [--members 1000]

A fork of another server arrives in transactions of 50, beside changes of our own, so that each transaction is resolved
with what came before; then the same fork arrives as one. Meanwhile one user sends into another room, one message at a
time. What is printed: p50 and p99 of those sends with nothing beside them, while the fork arrives in one go, and while
it arrives in parts; and how long the fork itself took.
"""

import argparse
import asyncio
import time
from collections.abc import Sequence

from tests.benchmarks.bench_rooms import Figures, bench_postgres, figures_of, fresh_schema, open_rooms, run_benchmark
from tests.services.rooms.conftest import ALICE, Rooms
from tests.services.rooms.forks import CAROL, MEMBER, Fork, room_with_carol
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.rooms.receive import Incoming

PDUS_PER_TRANSACTION = 50
STATE = "org.example.state"


def fork_events(fork: Fork, count: int) -> list[Event]:
    """Memberships of new users, bans, power levels, and state that our side has changed too."""
    events = []
    for number in range(count):
        user = UserId(f"@fork{number - number % 10}:clinic.example")
        match number % 10:
            case 0:
                event = fork.make(MEMBER, {"membership": "join"}, state_key=user, sender=user)
            case 3:
                event = fork.make(MEMBER, {"membership": "ban"}, state_key=user)
            case 5:
                users = {str(ALICE): 100, str(CAROL): 50}
                event = fork.make(
                    "m.room.power_levels", {"users": users, "state_default": 0, "ban": number % 50}, state_key=""
                )
            case _:
                event = fork.make(STATE, {"number": number}, state_key=str(number % 400))
        events.append(event)
    return events


async def forked_room(rooms: Rooms, options: argparse.Namespace) -> tuple[RoomId, list[Event]]:
    """A room with members and changes of our own, and the events of a fork that knows nothing of the changes."""
    users = {str(ALICE): 100, str(CAROL): 50}
    room_id, fork = await room_with_carol(rooms, users=users, state_default=0, ban=0)
    await asyncio.gather(
        *(rooms.member(room_id, UserId(f"@member{n}:hospital.example"), "join") for n in range(options.members))
    )
    for number in range(200):
        await rooms.send(room_id, ALICE, STATE, state_key=str(number), content={"ours": number})
    return room_id, fork_events(fork, options.events)


async def send_until(rooms: Rooms, room_id: RoomId, done: "asyncio.Future[object]") -> Figures:
    """Send one after another; the figures."""
    durations = []
    began = time.perf_counter()
    while not done.done():
        started = time.perf_counter()
        await rooms.send(room_id, ALICE)
        durations.append(time.perf_counter() - started)
    await done
    return figures_of(durations, time.perf_counter() - began)


async def receive(rooms: Rooms, room_id: RoomId, events: Sequence[Event], *, at_once: int) -> None:
    """The fork arrives in groups of so many."""
    for start in range(0, len(events), at_once):
        await rooms.queues.submit(room_id, Incoming(events=tuple(events[start : start + at_once])))


async def main(options: argparse.Namespace) -> None:
    """Print the figures, then the ratios."""
    with bench_postgres() as postgres:
        async with open_rooms(await fresh_schema(postgres, "bench")) as rooms:
            await compare(rooms, options)


async def compare(rooms: Rooms, options: argparse.Namespace) -> None:
    """Measure over these rooms."""
    quiet = await rooms.create()
    print(f"a fork of {options.events} state events in a room of {options.members} members")
    alone = await send_until(rooms, quiet, asyncio.ensure_future(asyncio.sleep(5)))
    print(f"sends alone:                     {alone}")
    for name, at_once in (("in one go", options.events), ("in parts", PDUS_PER_TRANSACTION)):
        room_id, events = await forked_room(rooms, options)
        began = time.perf_counter()
        arriving = asyncio.ensure_future(receive(rooms, room_id, events, at_once=at_once))
        beside = await send_until(rooms, quiet, arriving)
        took_s = time.perf_counter() - began
        print(f"sends beside the fork {name:9s}: {beside}   (the fork took {took_s:.1f} s)")
        print(f"    p50 × {beside.p50_ms / alone.p50_ms:.1f}, p99 × {beside.p99_ms / alone.p99_ms:.1f}")
    await rooms.queues.receiver.resolver.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, default=2000)
    parser.add_argument("--members", type=int, default=1000)
    run_benchmark(main(parser.parse_args()))
