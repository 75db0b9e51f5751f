"""The order in which events can be checked."""

from hypothesis import given
from hypothesis import strategies as st

from tim_server.matrix.event_auth.auth_order import auth_order
from tim_server.matrix.identifiers import EventId

A, B, C, D = (EventId(f"${name}") for name in "abcd")


def test_each_event_comes_after_what_authorises_it() -> None:
    assert auth_order({C: [B, A], B: [A], A: []}) == [A, B, C]


def test_what_is_not_in_the_graph_is_not_waited_for() -> None:
    assert auth_order({B: [A]}) == [B]


def test_a_cycle_and_what_cites_it_are_left_out() -> None:
    assert auth_order({A: [], B: [C], C: [B], D: [C, A]}) == [A]
    assert auth_order({A: [A]}) == []


@given(st.lists(st.lists(st.integers(0, 30), max_size=5), max_size=30))
def test_any_graph_without_cycles_is_ordered_whole(cited: list[list[int]]) -> None:
    ids = [EventId(f"${number}") for number in range(len(cited))]
    graph = {ids[i]: [ids[j % i] for j in cited[i]] if i else [] for i in reversed(range(len(cited)))}
    ordered = auth_order(graph)
    places = {event_id: place for place, event_id in enumerate(ordered)}
    assert len(places) == len(graph)
    assert all(places[auth_event] < places[event_id] for event_id in graph for auth_event in graph[event_id])
