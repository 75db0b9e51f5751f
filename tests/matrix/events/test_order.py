"""The order of events in which each comes after those that it refers to."""

from hypothesis import given
from hypothesis import strategies as st

from tim_server.matrix.events.order import order_of
from tim_server.matrix.identifiers import EventId

A, B, C, D = (EventId(f"${name}") for name in "abcd")


def test_each_event_comes_after_what_it_refers_to() -> None:
    assert order_of({C: [B, A], B: [A], A: []}) == [A, B, C]


def test_what_is_not_in_the_graph_is_not_waited_for() -> None:
    assert order_of({B: [A]}) == [B]


def test_a_cycle_and_what_refers_to_it_are_left_out() -> None:
    assert order_of({A: [], B: [C], C: [B], D: [C, A]}) == [A]
    assert order_of({A: [A]}) == []


@given(st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=30))
def test_any_graph_without_cycles_is_ordered_whole(cited: list[list[int]]) -> None:
    ids = [EventId(f"${number}") for number in range(len(cited))]
    graph = {ids[i]: [ids[j % i] for j in cited[i]] if i else [] for i in reversed(range(len(cited)))}
    ordered = order_of(graph)
    places = {event_id: place for place, event_id in enumerate(ordered)}
    assert len(places) == len(graph)
    assert all(places[auth_event] < places[event_id] for event_id in graph for auth_event in graph[event_id])
