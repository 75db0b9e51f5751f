"""Tokens of places in a timeline."""

import pytest

from tests.services.events.rows import make_row
from tim_server.matrix.errors import InvalidParam
from tim_server.services.events.tokens import place_after, place_before, place_of, token_of


@pytest.mark.parametrize("place", [(0, 0), (17, 0), (17, -3), (2**50, -1)])
def test_token_is_read_back(place: tuple[int, int]) -> None:
    assert place_of(token_of(place)) == place


def test_sync_token_stands_for_all_that_the_sync_covered() -> None:
    assert place_of("s17") == (17, 0)
    assert place_of("s17_whatever") == (17, 0)


@pytest.mark.parametrize("token", ["", "17", "t17", "t17_", "t-1_0", "t1_0 ", "s", "t" + "9" * 40 + "_0", "t1_--1"])
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(InvalidParam):
        place_of(token)


def test_history_fetched_later_lies_before_the_event_and_after_the_gap_before_it() -> None:
    row = make_row(position=10, minor=0)
    assert place_before(row) < place_after(row)
    assert place_before(make_row(position=10, minor=-1)) < place_before(row)
