"""Room history visibility, rule by rule.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-history-visibility
"""

import pytest

from tim_server.matrix.history_visibility import (
    HistoryVisibility,
    Viewpoint,
    history_visibility_of,
    may_see,
    may_see_event,
)

ALICE = "@alice:hospital.example"
BOB = "@bob:clinic.example"
UNSET = None

# Visible where the user never joins later / where the user joins at some point after the event.
TABLE = {
    ("world_readable", "join"): (True, True),
    ("world_readable", "invite"): (True, True),
    ("world_readable", "knock"): (True, True),
    ("world_readable", "leave"): (True, True),
    ("world_readable", "ban"): (True, True),
    ("shared", "join"): (True, True),
    ("shared", "invite"): (False, True),
    ("shared", "knock"): (False, True),
    ("shared", "leave"): (False, True),
    ("shared", "ban"): (False, True),
    ("invited", "join"): (True, True),
    ("invited", "invite"): (True, True),
    ("invited", "knock"): (False, False),
    ("invited", "leave"): (False, False),
    ("invited", "ban"): (False, False),
    ("joined", "join"): (True, True),
    ("joined", "invite"): (False, False),
    ("joined", "knock"): (False, False),
    ("joined", "leave"): (False, False),
    ("joined", "ban"): (False, False),
    (UNSET, "join"): (True, True),
    (UNSET, "invite"): (False, True),
    (UNSET, "knock"): (False, True),
    (UNSET, "leave"): (False, True),
    (UNSET, "ban"): (False, True),
}


def viewpoint(visibility: str | None, membership: str, *, joined_later: bool = False) -> Viewpoint:
    content = None if visibility is None else {"history_visibility": visibility}
    return Viewpoint(
        history_visibility=history_visibility_of(content), membership=membership, joined_later=joined_later
    )


@pytest.mark.parametrize(("visibility", "membership"), TABLE)
def test_visibility_at_the_event_and_membership_at_the_event_decide(visibility, membership):
    never_joins, joins_later = TABLE[visibility, membership]
    assert may_see(viewpoint(visibility, membership)) is never_joins
    assert may_see(viewpoint(visibility, membership, joined_later=True)) is joins_later


@pytest.mark.parametrize(
    "content",
    [None, {}, {"history_visibility": "secret"}, {"history_visibility": None}, {"history_visibility": ["joined"]}],
)
def test_a_visibility_that_is_not_set_or_not_understood_is_shared(content):
    assert history_visibility_of(content) is HistoryVisibility.SHARED


@pytest.mark.parametrize(("before", "after"), [("world_readable", "joined"), ("joined", "world_readable")])
def test_a_change_of_visibility_is_seen_if_the_visibility_before_or_after_allows_it(before, after):
    assert may_see_event(
        viewpoint(before, "leave"),
        event_type="m.room.history_visibility",
        state_key="",
        content={"history_visibility": after},
        user_id=ALICE,
    )


def test_a_change_of_visibility_that_neither_side_allows_is_not_seen():
    assert not may_see_event(
        viewpoint("invited", "leave"),
        event_type="m.room.history_visibility",
        state_key="",
        content={"history_visibility": "joined"},
        user_id=ALICE,
    )


@pytest.mark.parametrize(("before", "after"), [("leave", "join"), ("join", "leave"), ("invite", "join")])
def test_users_see_their_own_membership_change_if_either_membership_allows_it(before, after):
    assert may_see_event(
        viewpoint("joined", before),
        event_type="m.room.member",
        state_key=ALICE,
        content={"membership": after},
        user_id=ALICE,
    )


def test_an_invitation_is_seen_by_the_invited_user_where_history_is_visible_since_the_invitation():
    event = {"event_type": "m.room.member", "state_key": ALICE, "content": {"membership": "invite"}, "user_id": ALICE}
    assert may_see_event(viewpoint("invited", "leave"), **event)
    assert not may_see_event(viewpoint("joined", "leave"), **event)


def test_the_join_of_another_user_opens_nothing():
    assert not may_see_event(
        viewpoint("joined", "leave"),
        event_type="m.room.member",
        state_key=BOB,
        content={"membership": "join"},
        user_id=ALICE,
    )


def test_a_message_is_judged_by_the_state_before_it_only():
    message = {"event_type": "m.room.message", "state_key": None, "content": {"body": "hello"}, "user_id": ALICE}
    assert may_see_event(viewpoint("joined", "join"), **message)
    assert not may_see_event(viewpoint("joined", "invite"), **message)


def test_a_history_visibility_event_with_another_state_key_decides_nothing():
    assert not may_see_event(
        viewpoint("joined", "leave"),
        event_type="m.room.history_visibility",
        state_key="other",
        content={"history_visibility": "world_readable"},
        user_id=ALICE,
    )
