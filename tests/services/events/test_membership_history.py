"""A reader's membership at any place of a timeline."""

import pytest

from tests.services.events.rows import change
from tim_server.services.events.membership_history import NO_HISTORY, MembershipHistory

HISTORY = MembershipHistory([change(10, "invite", 1), change(20, "join", 2), change(30, "leave", 3)])


@pytest.mark.parametrize(
    ("place", "before", "after"),
    [
        ((9, 0), "leave", "leave"),
        ((10, 0), "leave", "invite"),
        ((11, 0), "invite", "invite"),
        ((20, -1), "invite", "invite"),
        ((20, 0), "invite", "join"),
        ((25, 0), "join", "join"),
        ((30, -5), "join", "join"),
        ((30, 0), "join", "leave"),
        ((99, 0), "leave", "leave"),
    ],
)
def test_membership_before_and_after_the_event_at_a_place(place: tuple[int, int], before: str, after: str) -> None:
    assert HISTORY.before(place) == before
    assert HISTORY.after(place) == after


def test_joining_later() -> None:
    assert HISTORY.joined_later((19, 0))
    assert HISTORY.joined_later((20, -1))
    assert HISTORY.joined_later((29, 0))
    assert not HISTORY.joined_later((30, 0))


def test_membership_within_a_state() -> None:
    assert HISTORY.within(frozenset({2, 17})) == "join"
    assert HISTORY.within(frozenset({17})) == "leave"


def test_who_never_had_to_do_with_the_room() -> None:
    assert NO_HISTORY.after((1, 0)) == NO_HISTORY.before((1, 0)) == "leave"
    assert NO_HISTORY.newest is None
