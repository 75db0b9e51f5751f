"""Properties of state resolution that hold for every fork, in every room version.

Forks are made by random members who do what the authorisation rules allow them on their own branch.
"""

import pickle
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.matrix.state_resolution.room_graph import ALICE, BOB, CAROL, DAVE, Branch, joined_room, member
from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import check_auth_rules
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.state_resolution import (
    conflict_of,
    graph_roots,
    memberships_to_load,
    plan_resolution,
    resolve_conflict,
)
from tim_server.matrix.state_resolution.auth_graph import reachable

USERS = (ALICE, BOB, CAROL, DAVE)
LEVELS = (0, 50, 100)


@dataclass(frozen=True)
class Step:
    """What someone does on one of the branches."""

    branch: int
    action: str
    sender: str
    target: str
    level: int
    ts: int


steps = st.builds(
    Step,
    branch=st.integers(0, 2),
    action=st.sampled_from(["topic", "power", "join_rules", "ban", "kick", "invite", "join", "leave", "fork"]),
    sender=st.sampled_from(USERS),
    target=st.sampled_from(USERS),
    level=st.sampled_from(LEVELS),
    ts=st.integers(0, 3),
)
versions = st.sampled_from(["1", "2", "6", "10", "11", "12"])
histories = st.lists(steps, min_size=8, max_size=30)


def take(branch: Branch, step: Step, name: str) -> None:
    """Send the event of a step, and take it back if the branch's state does not allow it."""
    before, last = dict(branch.state), branch.last
    if step.action == "topic":
        branch.topic(name, sender=step.sender, ts=step.ts)
    elif step.action == "power":
        creator = {} if branch.room.version.privileged_creators else {ALICE: 100}
        users = {**creator, BOB: 50, CAROL: 50, step.target: step.level}
        if branch.room.version.privileged_creators:
            users.pop(ALICE, None)
        branch.power_levels(name, users, sender=step.sender, ts=step.ts)
    elif step.action == "join_rules":
        branch.join_rules(name, "public" if step.level else "invite", sender=step.sender, ts=step.ts)
    else:
        target = step.sender if step.action in ("join", "leave") else step.target
        membership = "leave" if step.action == "kick" else step.action
        branch.membership(name, target, membership, sender=step.sender, ts=step.ts)
    event = branch.room.events[branch.last[0]]
    auth_state = {key: branch.room.events[before[key]] for key in before}
    try:
        check_auth_rules(event, auth_state, branch.room.version)
    except EventRejected:
        del branch.room.events[event.event_id]
        branch.state, branch.last = before, last


def play(version: str, history: list[Step]) -> list[Branch]:
    """The branches that a history leaves."""
    main = joined_room(version, users={BOB: 50, CAROL: 50})
    main.membership("dave", DAVE, "join")
    branches = [main, main.fork()]
    for number, step in enumerate(history):
        branch = branches[step.branch % len(branches)]
        if step.action == "fork":
            branches.append(branch.fork())
        else:
            take(branch, step, f"{number:02}")
    return branches[:4]


@settings(deadline=None)
@given(version=versions, history=histories, data=st.data())
def test_the_order_of_states_and_of_their_entries_does_not_matter(version, history, data):
    branches = play(version, history)
    room = branches[0].room
    expected = room.resolve(*(branch.state for branch in branches))
    shuffled = data.draw(st.permutations([dict(reversed(branch.state.items())) for branch in branches]))
    room.events = dict(data.draw(st.permutations(list(room.events.items()))))
    assert room.resolve(*shuffled) == expected


@settings(deadline=None)
@given(version=versions, history=histories, count=st.integers(1, 3))
def test_the_resolution_of_identical_states_is_that_state(version, history, count):
    branch = play(version, history)[-1]
    assert branch.room.resolve(*[branch.state] * count) == branch.state


@settings(deadline=None)
@given(version=versions, history=histories)
def test_a_repeated_state_changes_nothing(version, history):
    states = [branch.state for branch in play(version, history)]
    room = play(version, history)[0].room
    assert room.resolve(*states, *states) == room.resolve(*states)


@settings(deadline=None)
@given(version=versions, history=histories)
def test_unconflicted_entries_stand_and_every_entry_has_the_key_of_its_event(version, history):
    branches = play(version, history)
    room = branches[0].room
    resolved = room.resolve(*(branch.state for branch in branches))
    shared = set.intersection(*(set(branch.state.items()) for branch in branches))
    assert shared <= set(resolved.items())
    for key, event_id in resolved.items():
        event = room.events[event_id]
        assert (event.type, event.state_key) == key


@settings(deadline=None)
@given(version=versions, history=histories)
def test_the_events_that_the_plan_names_suffice(version, history):
    branches = play(version, history)
    room, states = branches[0].room, [branch.state for branch in branches]
    below = reachable(graph_roots(states), room.auth_graph)
    plan = plan_resolution(room.version, states, {event_id: room.events[event_id].auth_events for event_id in below})
    events = {event_id: room.events[event_id] for event_id in plan.event_ids}
    events |= {event_id: room.events[event_id] for event_id in memberships_to_load(plan, events)}
    resolved = resolve_conflict(conflict_of(plan, events)) if plan.has_conflict else {}
    assert plan.merged(resolved) == room.resolve(*states)


@pytest.mark.parametrize("version", ["1", "11", "12"])
def test_a_conflict_goes_to_another_process_and_its_resolution_comes_back(version):
    main = joined_room(version)
    one, other = main, main.fork()
    one.topic("topic")
    other.membership("ban", BOB, "ban", sender=ALICE)
    plan = plan_resolution(main.room.version, [one.state, other.state], main.room.auth_graph)
    conflict = conflict_of(plan, main.room.events)
    assert resolve_conflict(pickle.loads(pickle.dumps(conflict))) == resolve_conflict(conflict)


def test_a_conflict_holds_the_content_of_what_authorises_only():
    main = joined_room()
    one, other = main, main.fork()
    one.topic("topic")
    other.membership("ban", BOB, "ban", sender=ALICE)
    plan = plan_resolution(main.room.version, [one.state, other.state], main.room.auth_graph)
    events = conflict_of(plan, main.room.events).events
    assert (events["$topic"].content, events["$topic"].pdu) == ({}, {})
    assert events["$ban"].content == {"membership": "ban"}
    assert events["$topic"].auth_events == main.room.events["$topic"].auth_events


@pytest.mark.parametrize(
    ("version", "loaded"),
    [
        ("1", {"$one", "$other", "$create", "$power", "$public"}),
        ("11", {"$one", "$other", "$create", "$power", "$public", "$alice"}),
        ("12", {"$one", "$other", "$create", "$power", "$alice"}),
    ],
)
def test_only_what_a_fork_needs_is_loaded_in_a_room_of_many_members(version, loaded):
    main = joined_room(version)
    for number in range(500):
        main.membership(f"member {number}", UserId(f"@{number}:lab.example"), "join")
    one, other = main, main.fork()
    one.topic("one")
    other.topic("other")
    plan = plan_resolution(main.room.version, [one.state, other.state], main.room.auth_graph)
    assert plan.event_ids == loaded
    events = {event_id: main.room.events[event_id] for event_id in plan.event_ids}
    further = memberships_to_load(plan, events)
    assert further == ({"$alice"} if version == "1" else set())
    events |= {event_id: main.room.events[event_id] for event_id in further}
    assert conflict_of(plan, events).events.keys() == events.keys()


def test_a_membership_that_is_newer_than_the_cited_one_is_loaded():
    main = joined_room(users={BOB: 50})
    one, other = main, main.fork()
    one.topic("topic", sender=BOB)
    one.membership("renamed", BOB, "join")
    other.state[member(BOB)] = "$renamed"
    plan = plan_resolution(main.room.version, [one.state, other.state], main.room.auth_graph)
    assert "$renamed" not in plan.event_ids
    events = {event_id: main.room.events[event_id] for event_id in plan.event_ids}
    assert memberships_to_load(plan, events) == {"$renamed"}


def test_where_nothing_conflicts_nothing_is_loaded():
    main = joined_room()
    plan = plan_resolution(main.room.version, [main.state, main.state], main.room.auth_graph)
    assert (plan.has_conflict, plan.event_ids) == (False, frozenset())
    assert plan.merged({}) == main.state
