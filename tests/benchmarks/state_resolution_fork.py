"""How long the resolution of a fork of 2,000 state events takes, and what travels to another process for it.

Run: `python -m tests.benchmarks.state_resolution_fork [EVENTS] [MEMBERS]`
"""

import pickle
import sys
import time
from collections.abc import Callable
from typing import Any

from tests.matrix.state_resolution.room_graph import ALICE, BOB, CAROL, Branch, joined_room
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.state_resolution import (
    conflict_of,
    graph_roots,
    memberships_to_load,
    plan_resolution,
    resolve_conflict,
)
from tim_server.matrix.state_resolution.auth_graph import reachable

VERSIONS = ("1", "10", "11", "12")


def diverge(branch: Branch, name: str, sender: UserId, events: int) -> None:
    """Half memberships (of new users, and bans), a tenth power levels, the rest other state."""
    for number in range(events):
        label = f"{name} {number}"
        user = UserId(f"@{name}-{number // 10}:clinic.example")
        creator = {} if branch.room.version.privileged_creators else {ALICE: 100}
        match number % 10:
            case 0 | 1 | 2:
                branch.membership(label, UserId(f"@{name}-{number}:clinic.example"), "join")
            case 3:
                branch.membership(label, UserId(f"@{name}-{number - 3}:clinic.example"), "ban", sender=sender)
            case 4:
                branch.membership(label, UserId(f"@{name}-{number - 3}:clinic.example"), "leave", sender=sender)
            case 5:
                branch.power_levels(label, {**creator, BOB: 50, CAROL: 50, user: number % 50}, sender=sender)
            case 6:
                branch.join_rules(label, "public", sender=sender)
            case _:
                branch.send(label, ("org.example.state", f"{number % 100}"), {"number": number}, sender=sender)


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """The result of a call and the milliseconds it took, the best of three."""
    best, result = float("inf"), None
    for _ in range(3):
        start = time.perf_counter()
        result = call()
        best = min(best, (time.perf_counter() - start) * 1000)
    return result, best


def measure(version: str, fork_events: int, members: int) -> str:
    """One line of figures."""
    main = joined_room(version, users={BOB: 50, CAROL: 50})
    for number in range(members):
        main.membership(f"member {number}", UserId(f"@member-{number}:hospital.example"), "join")
    one, other = main, main.fork()
    diverge(one, "one", BOB, fork_events // 2)
    diverge(other, "other", CAROL, fork_events // 2)
    room, states = main.room, [one.state, other.state]
    below = reachable(graph_roots(states), room.auth_graph)
    auth_graph = {event_id: room.events[event_id].auth_events for event_id in below}
    plan, plan_ms = timed(lambda: plan_resolution(room.version, states, auth_graph))
    events = {event_id: room.events[event_id] for event_id in plan.event_ids}
    events |= {event_id: room.events[event_id] for event_id in memberships_to_load(plan, events)}
    conflict, conflict_ms = timed(lambda: conflict_of(plan, events))
    pickled, pickle_ms = timed(lambda: pickle.dumps(conflict))
    _, unpickle_ms = timed(lambda: pickle.loads(pickled))
    resolved, resolve_ms = timed(lambda: resolve_conflict(conflict))
    _, merge_ms = timed(lambda: plan.merged(resolved))
    return (
        f"v{version:>2}  state {len(one.state):>6}  loaded {len(events):>5}  here: plan {plan_ms:5.1f}  conflict "
        f"{conflict_ms:5.1f}  pickle {pickle_ms:5.1f}  merge {merge_ms:5.1f} ms   in the pool: unpickle "
        f"{unpickle_ms:5.1f}  resolve {resolve_ms:5.1f} ms   {len(pickled) // 1024:>5} KiB"
    )


def main() -> None:
    """Print a line for each algorithm."""
    fork_events = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    members = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    print(f"a fork of {fork_events} state events in a room of {members} members")
    for version in VERSIONS:
        print(measure(version, fork_events, members))


if __name__ == "__main__":
    main()
