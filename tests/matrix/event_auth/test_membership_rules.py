"""The rule "If type is m.room.member": who may join, invite, leave, remove, ban and knock.

Spec: https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules
"""

import pytest

from tests.matrix.event_auth.rooms import (
    ALICE,
    ALL_VERSIONS,
    BOB,
    CAROL,
    MALLORY,
    make_room,
    version_name,
    versions,
)
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.room_versions import V6, V7, V8, V9, V10, V11, V12

every_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
MEMBERSHIPS = [None, "leave", "invite", "join", "ban", "knock"]
EVE = UserId("@eve:lab.example")


def room_with(version, membership, *, join_rule="invite", user_id=MALLORY):
    """A room where Mallory has this membership."""
    room = make_room(version, join_rule=join_rule)
    room.state.pop(("m.room.member", user_id), None)
    if membership is not None:
        room.set_member(user_id, membership)
    return room


# 5.1 and 5.8: the form


@every_version
@pytest.mark.parametrize("content", [{}, {"membership": None}, {"membership": 5}, {"membership": ["join"]}])
def test_a_member_event_without_membership_is_rejected(version, content):
    assert not make_room(version).allows("m.room.member", ALICE, state_key=ALICE, content=content)


@every_version
def test_a_member_event_without_state_key_is_rejected(version):
    assert not make_room(version).allows("m.room.member", ALICE, content={"membership": "join"})


@every_version
def test_an_unknown_membership_is_rejected(version):
    assert not make_room(version).allows_member(ALICE, ALICE, "visit")


# 5.3: join


def founding_room(version, **create_content):
    """A room of which there is only the create event."""
    room = make_room(version, **create_content)
    room.state = {("m.room.create", ""): room.create}
    return room


def founding_join(room, user_id, sender=None, prev_events=None):
    """Whether the user may join right after the create event."""
    return room.allows(
        "m.room.member",
        sender or user_id,
        state_key=str(user_id),
        content={"membership": "join"},
        prev_events=(room.create.event_id,) if prev_events is None else prev_events,
    )


@every_version
def test_the_creator_joins_right_after_the_create_event(version):
    room = founding_room(version)
    assert founding_join(room, ALICE)
    assert not founding_join(room, BOB)
    assert not founding_join(room, ALICE, prev_events=(room.create.event_id, EventId("$other")))
    assert not founding_join(room, ALICE, prev_events=(EventId("$other"),))


def test_the_creator_who_joins_first_is_named_by_the_content_until_v10_and_the_sender_since_v11():
    for version in ALL_VERSIONS:
        room = founding_room(version, creator=str(BOB))
        assert founding_join(room, BOB) is (version in versions(1, 10))
        assert founding_join(room, ALICE) is (version in versions(11))


def test_an_additional_creator_does_not_join_uninvited():
    assert not founding_join(founding_room(V12, additional_creators=[str(BOB)]), BOB)


@every_version
def test_nobody_joins_for_another(version):
    room = room_with(version, "invite", join_rule="public")
    assert not room.allows_member(ALICE, MALLORY, "join")
    assert room.allows_member(MALLORY, MALLORY, "join")


# For each join rule: since which version it is known, and which memberships may join without further ado.
JOIN_RULES = [
    ("public", 1, [None, "leave", "invite", "join", "knock"]),
    ("invite", 1, ["invite", "join"]),
    (None, 1, ["invite", "join"]),
    ("knock", 7, ["invite", "join"]),
    ("restricted", 8, ["invite", "join"]),
    ("knock_restricted", 10, ["invite", "join"]),
    ("private", 99, []),
    ("org.example.custom", 99, []),
]


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
@pytest.mark.parametrize(("join_rule", "since", "may_join"), JOIN_RULES, ids=[str(rule[0]) for rule in JOIN_RULES])
def test_who_may_join_under_a_join_rule(version, membership, join_rule, since, may_join):
    expected = membership in may_join and int(version.identifier) >= since
    assert room_with(version, membership, join_rule=join_rule).allows_member(MALLORY, MALLORY, "join") is expected


@pytest.mark.parametrize("join_rule", [None, 5, ["public"], {}])
def test_a_malformed_join_rule_counts_as_invite(join_rule):
    room = make_room(V11)
    room.set("m.room.join_rules", {"join_rule": join_rule})
    assert not room.allows_member(MALLORY, MALLORY, "join")
    room.set_member(MALLORY, "invite")
    assert room.allows_member(MALLORY, MALLORY, "join")


@pytest.mark.parametrize(
    ("version", "join_rule", "known"),
    [
        (V7, "restricted", False),
        (V8, "restricted", True),
        (V9, "restricted", True),
        (V9, "knock_restricted", False),
        (V10, "restricted", True),
        (V10, "knock_restricted", True),
        (V11, "knock_restricted", True),
        (V12, "restricted", True),
        (V12, "knock_restricted", True),
        (V12, "invite", False),
        (V12, "knock", False),
    ],
)
def test_a_restricted_join_that_a_user_with_power_has_authorised(version, join_rule, known):
    room = make_room(version, join_rule=join_rule)
    room.set_power(invite=30, users={BOB: 30, CAROL: 29})

    def joins(authorised_by):
        return room.allows_member(MALLORY, MALLORY, "join", join_authorised_via_users_server=authorised_by)

    assert joins(BOB) is known
    assert joins(ALICE) is known
    assert not joins(CAROL)  # joined, but without the power to invite
    assert not joins("@nobody:clinic.example")
    assert not joins(None)
    assert not joins(5)


@pytest.mark.parametrize("membership", [None, "leave", "invite", "ban", "knock"])
def test_a_restricted_join_authorised_by_one_who_is_not_joined_is_rejected(membership):
    room = room_with(V11, membership, join_rule="restricted", user_id=BOB)
    room.set_power(users={BOB: 100})
    assert not room.allows_member(MALLORY, MALLORY, "join", join_authorised_via_users_server=BOB)


def test_a_banned_user_does_not_join_a_restricted_room():
    room = room_with(V11, "ban", join_rule="restricted")
    assert not room.allows_member(MALLORY, MALLORY, "join", join_authorised_via_users_server=ALICE)


def test_a_restricted_join_is_not_authorised_for_another():
    room = make_room(V11, join_rule="restricted")
    assert not room.allows_member(ALICE, MALLORY, "join", join_authorised_via_users_server=ALICE)


# 5.4: invite


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_whom_a_member_may_invite(version, membership):
    expected = membership not in ("join", "ban")
    assert room_with(version, membership).allows_member(BOB, MALLORY, "invite") is expected


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_only_who_is_joined_may_invite(version, membership):
    room = room_with(version, membership)
    room.set_power(users={MALLORY: 100})
    assert room.allows_member(MALLORY, EVE, "invite") is (membership == "join")


@every_version
def test_who_has_not_the_invite_level_does_not_invite(version):
    room = make_room(version)
    room.set_power(invite=30, users={BOB: 30, CAROL: 29})
    assert room.allows_member(BOB, MALLORY, "invite")
    assert not room.allows_member(CAROL, MALLORY, "invite")


@every_version
def test_a_membership_needs_no_level_of_its_type(version):
    room = make_room(version, join_rule="public")
    room.set_power(events={"m.room.member": 100}, state_default=100)
    assert room.allows_member(BOB, MALLORY, "invite")
    assert room.allows_member(MALLORY, MALLORY, "join")
    assert room.allows_member(BOB, BOB, "leave")


# 5.5: leave


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_who_may_leave(version, membership):
    may_leave = {"invite", "join"} | ({"knock"} if version in versions(7) else set())
    assert room_with(version, membership).allows_member(MALLORY, MALLORY, "leave") is (membership in may_leave)


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_only_who_is_joined_may_remove(version, membership):
    room = room_with(version, membership)
    room.set_power(users={MALLORY: 100})
    assert room.allows_member(MALLORY, BOB, "leave") is (membership == "join")


@every_version
@pytest.mark.parametrize("membership", [None, "leave", "invite", "join", "knock"])
def test_removing_needs_the_kick_level_and_more_power_than_the_target(version, membership):
    room = room_with(version, membership)
    room.set_power(kick=30, ban=99, users={BOB: 30, CAROL: 29, MALLORY: 29})
    assert room.allows_member(BOB, MALLORY, "leave")
    assert not room.allows_member(CAROL, MALLORY, "leave")
    room.set_power(kick=30, ban=99, users={BOB: 30, MALLORY: 30})
    assert not room.allows_member(BOB, MALLORY, "leave")


@every_version
def test_unbanning_needs_the_ban_level_and_the_kick_level(version):
    room = room_with(version, "ban")
    room.set_power(kick=30, ban=40, users={BOB: 40, CAROL: 39})
    assert room.allows_member(BOB, MALLORY, "leave")
    assert not room.allows_member(CAROL, MALLORY, "leave")
    room.set_power(kick=40, ban=30, users={BOB: 40, CAROL: 39})
    assert room.allows_member(BOB, MALLORY, "leave")
    assert not room.allows_member(CAROL, MALLORY, "leave")
    room.set_power(kick=0, ban=0, users={BOB: 10, MALLORY: 10})
    assert not room.allows_member(BOB, MALLORY, "leave")


# 5.6: ban


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_whoever_has_less_power_may_be_banned(version, membership):
    room = room_with(version, membership)
    room.set_power(ban=30, users={BOB: 30, CAROL: 29, MALLORY: 29})
    assert room.allows_member(BOB, MALLORY, "ban")
    assert not room.allows_member(CAROL, MALLORY, "ban")
    room.set_power(ban=30, users={BOB: 30, MALLORY: 30})
    assert not room.allows_member(BOB, MALLORY, "ban")


@every_version
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_only_who_is_joined_may_ban(version, membership):
    room = room_with(version, membership)
    room.set_power(users={MALLORY: 100})
    assert room.allows_member(MALLORY, BOB, "ban") is (membership == "join")


@every_version
def test_nobody_bans_themselves(version):
    assert not make_room(version).allows_member(ALICE, ALICE, "ban")


@every_version
def test_kick_and_ban_need_50_and_invite_0_where_the_power_levels_do_not_say(version):
    for has_power_levels in (True, False):
        room = make_room(version)
        room.set_power(users={BOB: 49})
        if not has_power_levels:
            del room.state["m.room.power_levels", ""]
        assert not room.allows_member(BOB, CAROL, "ban")
        assert not room.allows_member(BOB, CAROL, "leave")
        assert room.allows_member(BOB, MALLORY, "invite")
        assert room.allows_member(ALICE, CAROL, "ban")
        assert room.allows_member(ALICE, CAROL, "leave")


def test_no_creator_removes_another_since_v12():
    room = make_room(V12, additional_creators=[str(BOB)])
    for sender, target in ((ALICE, BOB), (BOB, ALICE)):
        assert not room.allows_member(sender, target, "leave")
        assert not room.allows_member(sender, target, "ban")
        assert room.allows_member(sender, CAROL, "ban")


# 5.7: knock


@every_version
@pytest.mark.parametrize("join_rule", ["knock", "knock_restricted", "restricted", "invite", "public", "private", None])
def test_which_rooms_take_knocks(version, join_rule):
    expected = (join_rule == "knock" and version in versions(7)) or (
        join_rule == "knock_restricted" and version in versions(10)
    )
    assert make_room(version, join_rule=join_rule).allows_member(MALLORY, MALLORY, "knock") is expected


@pytest.mark.parametrize("version", versions(7), ids=version_name)
@pytest.mark.parametrize("membership", MEMBERSHIPS)
def test_who_may_knock(version, membership):
    expected = membership in (None, "leave", "knock")
    room = room_with(version, membership, join_rule="knock")
    assert room.allows_member(MALLORY, MALLORY, "knock") is expected


@pytest.mark.parametrize("version", versions(7), ids=version_name)
def test_nobody_knocks_for_another(version):
    room = make_room(version, join_rule="knock")
    assert room.allows_member(EVE, EVE, "knock")
    assert not room.allows_member(EVE, MALLORY, "knock")
    assert not room.allows_member(ALICE, MALLORY, "knock")


def test_a_knock_is_an_unknown_membership_until_v6():
    room = make_room(V6, join_rule="knock")
    event = room.event("m.room.member", MALLORY, state_key=MALLORY, content={"membership": "knock"})
    assert "unknown" in room.rejection(event)
