"""The graph algorithms of state resolution, against their definitions.

Spec: https://spec.matrix.org/v1.19/rooms/v12/#definitions
"""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tests.matrix.state_resolution.room_graph import ALICE, BOB, POWER_LEVELS, TOPIC, joined_room
from tim_server.matrix.state_resolution.auth_graph import auth_difference, conflicted_state_subgraph, reachable
from tim_server.matrix.state_resolution.mainline import mainline, mainline_ordering
from tim_server.matrix.state_resolution.power_ordering import (
    is_power_event,
    reverse_topological_power_ordering,
    with_conflicted_auth_chains,
)
from tim_server.matrix.state_resolution.room_events import RoomEvents
from tim_server.matrix.state_resolution.state_sets import separate, separate_v1


@st.composite
def auth_graphs(draw, *, size_max: int = 7):
    """Acyclic graphs: each event, called by its number, cites some of those before it."""
    size = draw(st.integers(min_value=1, max_value=size_max))
    return {
        number: tuple(draw(st.sets(st.integers(min_value=0, max_value=number - 1)))) if number else ()
        for number in range(size)
    }


def chain(graph, event_id) -> set[int]:
    """The event and its auth chain, by the recursive definition."""
    return {event_id}.union(*(chain(graph, other) for other in graph[event_id]))


def paths(graph, start, end):
    """Every path of auth events from `start` to `end`."""
    if start == end:
        yield [end]
    for other in graph[start]:
        for rest in paths(graph, other, end):
            yield [start, *rest]


@given(data=st.data(), graph=auth_graphs())
def test_the_auth_difference_is_the_union_without_the_intersection_of_the_auth_chains(data, graph):
    numbers = st.sampled_from(sorted(graph))
    keys = [(f"type {number}", "") for number in range(3)]
    states = data.draw(st.lists(st.dictionaries(st.sampled_from(keys), numbers), min_size=2, max_size=3))
    chains = [set().union(*(chain(graph, event_id) for event_id in state.values())) for state in states]
    expected = set().union(*chains) - set.intersection(*chains)
    assert auth_difference(states, separate(states), graph) == expected


@given(data=st.data(), graph=auth_graphs())
def test_the_conflicted_state_subgraph_is_the_union_of_all_paths_between_conflicted_events(data, graph):
    conflicted = data.draw(st.sets(st.sampled_from(sorted(graph))))
    expected = {
        event_id
        for start, end in itertools.product(conflicted, conflicted)
        for path in paths(graph, start, end)
        for event_id in path
    }
    assert conflicted_state_subgraph(conflicted, graph) == expected


@given(data=st.data(), graph=auth_graphs(size_max=6))
def test_the_power_ordering_is_the_smallest_topological_ordering(data, graph):
    powers = data.draw(st.lists(st.integers(0, 2), min_size=len(graph), max_size=len(graph)))

    def order(event_id):
        return (-powers[event_id], 0, event_id)

    topological = (
        ordering
        for ordering in itertools.permutations(graph)
        if all(ordering.index(cited) < ordering.index(event_id) for event_id in graph for cited in graph[event_id])
    )
    smallest = min(topological, key=lambda ordering: [order(event_id) for event_id in ordering])
    assert reverse_topological_power_ordering(set(graph), graph, order) == list(smallest)


def test_the_power_ordering_ignores_what_is_not_to_be_ordered():
    graph = {1: (0,), 2: (1,), 3: ()}
    assert reverse_topological_power_ordering({2, 3}, graph, lambda event_id: (0, 0, event_id)) == [2, 3]


def test_walks_end_on_cycles():
    graph = {1: (2,), 2: (1, 3), 3: ()}
    assert reachable([1], graph) == {1, 2, 3}
    assert conflicted_state_subgraph([1], graph) == {1, 2}
    assert reverse_topological_power_ordering({1, 2, 3}, graph, lambda event_id: (0, 0, event_id)) == [3]
    assert mainline(1, {1: 2, 2: 1}.get) == {1: 0, 2: 1}


def test_power_events_bring_the_conflicted_events_of_their_auth_chains():
    graph = {4: (3, 1), 3: (2,), 2: (), 1: ()}
    assert with_conflicted_auth_chains([4], {4, 3, 2}, graph) == {4, 3, 2}


def test_power_events_might_take_an_ability_from_someone():
    main = joined_room()
    main.membership("kick", BOB, "leave", sender=ALICE)
    main.membership("ban", BOB, "ban", sender=ALICE)
    main.membership("unknown", BOB, "knock", sender=BOB)
    main.membership("leaves", BOB, "leave")
    main.membership("invited", BOB, "invite", sender=ALICE)
    main.topic("topic")
    power_events = {event_id for event_id, event in main.room.events.items() if is_power_event(event)}
    assert power_events == {"$power", "$public", "$kick", "$ban"}


def test_the_mainline_leads_from_the_power_levels_to_the_first_ones():
    main = joined_room()
    main.power_levels("second", {ALICE: 100, BOB: 50})
    main.topic("topic")
    main.power_levels("third", {ALICE: 100, BOB: 60})
    room = RoomEvents(version=main.room.version, by_id=main.room.events, rejected=frozenset())
    assert mainline(main.state[POWER_LEVELS], room.power_levels_of) == {"$third": 0, "$second": 1, "$power": 2}
    assert mainline(None, room.power_levels_of) == {}


def test_the_mainline_ordering_goes_from_old_to_new_power_levels_then_by_time_then_by_id():
    main = joined_room()
    off_mainline = main.fork()
    off_mainline.power_levels("aside", {ALICE: 100, BOB: 1})
    main.topic("on first", ts=9)
    off_mainline.topic("on aside", ts=8)
    main.power_levels("second", {ALICE: 100, BOB: 50})
    main.topic("on second, b", ts=1)
    main.fork().topic("on second, a", ts=1)
    main.fork().topic("on second, early", ts=0)
    before_any = main.fork()
    before_any.send("before any", TOPIC, {}, ts=10, auth_events=["$create"])
    room = RoomEvents(version=main.room.version, by_id=main.room.events, rejected=frozenset())
    topics = [event for event in main.room.events.values() if event.type == "m.room.topic"]
    assert mainline_ordering(topics, main.state[POWER_LEVELS], room.power_levels_of) == [
        "$before any",
        "$on aside",
        "$on first",
        "$on second, early",
        "$on second, a",
        "$on second, b",
    ]


def test_unconflicted_is_what_every_state_has_with_the_same_event():
    one = {("a", ""): "$1", ("b", ""): "$2", ("c", ""): "$3"}
    other = {("a", ""): "$1", ("b", ""): "$4"}
    separated = separate([one, other])
    assert separated.unconflicted == {("a", ""): "$1"}
    assert separated.conflicted == {("b", ""): {"$2", "$4"}, ("c", ""): {"$3"}}


def test_in_v1_only_different_events_for_the_same_key_conflict():
    one = {("a", ""): "$1", ("b", ""): "$2", ("c", ""): "$3"}
    other = {("a", ""): "$1", ("b", ""): "$4"}
    separated = separate_v1([one, other])
    assert separated.unconflicted == {("a", ""): "$1", ("c", ""): "$3"}
    assert separated.conflicted == {("b", ""): {"$2", "$4"}}
