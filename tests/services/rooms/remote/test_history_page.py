"""What is taken of a page of history, however it is made."""

from collections.abc import Collection, Mapping, Sequence

from hypothesis import given
from hypothesis import strategies as st

from tests.matrix.events.factories import AUTHOR, new_pdu
from tim_server.matrix.events.build import build_event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.remote.history_page import (
    MISSING_MAX,
    OPEN_ENDS_MAX,
    OPEN_ENDS_WANTED,
    HistoryPage,
    Link,
    page_of,
)

V11 = room_version("11")


def links_of(graph: Mapping[str, str], depths: Mapping[str, int] | None = None) -> dict[EventId, Link]:
    """Events named by a letter, from the letters of those that each names as before it."""
    depths = depths or {}
    return {
        EventId(name): Link(
            prev_events=tuple(map(EventId, prev)),
            event=build_event(new_pdu(V11, depth=depths.get(name, 1)), V11, AUTHOR)[0],
        )
        for name, prev in graph.items()
    }


def page(
    wanted: Sequence[str], graph: Mapping[str, str], known: Collection[str] = "", **depths: int
) -> HistoryPage | None:
    return page_of([EventId(e) for e in wanted], links_of(graph, depths), {EventId(e) for e in known})


def shown(found: HistoryPage | None) -> tuple[str, str, str] | None:
    """Order, open ends, missing."""
    return None if found is None else ("".join(found.order), "".join(found.open_ends), "".join(found.missing))


def test_a_page_leads_back_and_names_what_lies_before_it() -> None:
    assert shown(page("d", {"b": "a", "d": "c", "c": "b"})) == ("dcb", "b", "a")


def test_a_page_ends_at_what_is_known() -> None:
    assert shown(page("d", {"d": "c", "c": "b", "b": "a"}, known="b")) == ("dc", "", "")


def test_a_page_may_reach_the_beginning_of_the_room() -> None:
    assert shown(page("c", {"c": "b", "b": ""})) == ("cb", "", "")


def test_what_is_wanted_and_known_meanwhile_is_missing_no_more() -> None:
    assert shown(page("ab", {}, known="ab")) == ("", "", "")
    assert shown(page("ab", {"b": "a"}, known="a")) == ("b", "", "")


def test_events_of_other_rooms_are_missing_no_more_and_their_state_is_not_known() -> None:
    links = links_of({"c": "b", "b": "x"})
    found = page_of([EventId("c"), EventId("y")], links, (), {EventId("x"), EventId("y")})
    assert shown(found) == ("cb", "b", "")
    assert shown(page_of([EventId("y")], {}, (), {EventId("y")})) == ("", "", "")


def test_what_was_not_told_stays_missing() -> None:
    assert shown(page("bx", {"b": "a", "a": ""})) == ("ba", "", "x")


def test_events_that_nothing_leads_to_are_left_alone() -> None:
    assert shown(page("b", {"b": "a", "y": "b", "z": ""})) == ("b", "b", "a")


def test_an_answer_with_nothing_of_what_is_wanted_is_of_no_use() -> None:
    assert page("b", {"y": "b", "z": ""}) is None
    assert page("b", {}) is None


def test_events_that_lead_back_to_themselves_are_of_no_use() -> None:
    assert page("b", {"b": "a", "a": "b"}) is None
    assert page("c", {"c": "b", "b": "ab", "a": ""}) is None


def test_of_branches_the_deeper_event_comes_first() -> None:
    assert shown(page("d", {"d": "bc", "b": "a", "c": "a", "a": ""}, d=4, b=2, c=3)) == ("dcba", "", "")
    assert shown(page("d", {"d": "bc", "b": "a", "c": "a", "a": ""}, d=4, b=3, c=2)) == ("dbca", "", "")


def test_forged_depth_never_puts_an_event_before_what_it_names() -> None:
    assert shown(page("c", {"c": "b", "b": "a", "a": ""}, c=1, b=5, a=2**52)) == ("cba", "", "")


def test_what_did_not_pass_is_a_way_through() -> None:
    links = links_of({"c": "b", "a": ""})
    links[EventId("b")] = Link(prev_events=(EventId("a"),), event=None)
    found = page_of([EventId("c")], links, ())
    assert shown(found) == ("cba", "", "")


def test_a_page_is_cut_where_few_events_stand_at_its_end() -> None:
    """ "d" has five branches that go on, of which the state would have to be asked for one by one."""
    found = page("f", {"f": "e", "e": "d", "d": "12345", **dict(zip("12345", "vwxyz", strict=True))})
    assert shown(found) == ("fed12", "d12", "345vw")
    assert OPEN_ENDS_WANTED == 3


def test_a_page_that_only_ends_widely_is_of_no_use() -> None:
    names = [f"n{number}" for number in range(OPEN_ENDS_MAX + 1)]
    links = {EventId(name): Link(prev_events=(EventId(f"{name}-before"),), event=None) for name in names}
    one_by_one = page_of([EventId(name) for name in names], links, ())
    assert one_by_one is not None
    assert (len(one_by_one.order), len(one_by_one.missing)) == (OPEN_ENDS_WANTED, OPEN_ENDS_MAX + 1)


def test_an_event_that_names_thousands_is_bounded() -> None:
    link = Link(prev_events=tuple(EventId(f"$p{number}") for number in range(10_000)), event=None)
    found = page_of([EventId("$e")], {EventId("$e"): link}, ())
    assert found is not None
    assert len(found.missing) == MISSING_MAX


NAMES = "abcdefghij"


@given(
    graph=st.dictionaries(st.sampled_from(NAMES), st.text(alphabet=NAMES + "xyz", max_size=4)),
    known=st.text(alphabet=NAMES, max_size=3),
    wanted=st.text(alphabet=NAMES, min_size=1, max_size=3),
)
def test_whatever_is_answered_a_page_is_in_order_and_leads_back(graph: dict[str, str], known: str, wanted: str) -> None:
    found = page(wanted, graph, known)
    if found is None:
        return
    places = {event_id: place for place, event_id in enumerate(found.order)}
    assert len(places) == len(found.order)
    assert not places.keys() & set(known)
    for event_id, place in places.items():
        assert all(places.get(EventId(prev), place + 1) > place for prev in graph[event_id])
        assert event_id in wanted or any(event_id in graph[citing] for citing in found.order[:place])
    assert not {*found.missing} & ({*known} | places.keys())
    for end in places:
        is_open = any(prev not in known and prev not in places for prev in graph[end])
        assert is_open == (end in found.open_ends)
