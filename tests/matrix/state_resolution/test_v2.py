"""State resolution v2: forks made by hand.

Spec: https://spec.matrix.org/v1.19/rooms/v2/#state-resolution
"""

import pytest

from tests.matrix.state_resolution.room_graph import (
    ALICE,
    BOB,
    CAROL,
    DAVE,
    JOIN_RULES,
    POWER_LEVELS,
    TOPIC,
    joined_room,
    member,
)
from tim_server.matrix.state_resolution import EventsNotLoaded, resolve

VERSIONS_V2 = [str(number) for number in range(2, 12)]
VERSIONS = [*VERSIONS_V2, "12"]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ban_goes_before_what_the_banned_moderator_does_at_the_same_time(version):
    main = joined_room(version, users={BOB: 50})
    one, other = main, main.fork()
    one.membership("ban", BOB, "ban", sender=ALICE)
    other.topic("topic of bob", sender=BOB)
    other.membership("carol is out", CAROL, "ban", sender=BOB)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[member(BOB)] == "$ban"
    assert resolved[member(CAROL)] == "$carol"
    assert TOPIC not in resolved


@pytest.mark.parametrize("version", VERSIONS)
def test_a_demotion_by_a_greater_power_goes_before_a_ban_by_the_demoted_whatever_the_clocks_say(version):
    main = joined_room(version, users={BOB: 50})
    one, other = main, main.fork()
    one.power_levels("demotion", {BOB: 0} if version == "12" else {ALICE: 100, BOB: 0}, ts=9_000_000)
    other.membership("carol is out", CAROL, "ban", sender=BOB, ts=1)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[POWER_LEVELS] == "$demotion"
    assert resolved[member(CAROL)] == "$carol"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_ban_and_a_power_change_of_the_banned_leave_the_ban(version):
    main = joined_room(version, users={BOB: 50})
    one, other = main, main.fork()
    one.membership("ban", BOB, "ban", sender=ALICE, ts=9_000_000)
    levels = {BOB: 50, CAROL: 50} if version == "12" else {ALICE: 100, BOB: 50, CAROL: 50}
    other.power_levels("power of bob", levels, sender=BOB, ts=1)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[member(BOB)] == "$ban"
    assert resolved[POWER_LEVELS] == "$power"


@pytest.mark.parametrize("version", VERSIONS)
def test_of_two_power_changes_by_equals_the_later_one_stands(version):
    main = joined_room(version, users={BOB: 50, CAROL: 50})
    one, other = main, main.fork()
    base = {} if version == "12" else {ALICE: 100}
    one.power_levels("by bob", {**base, BOB: 50, CAROL: 50, DAVE: 10}, sender=BOB, ts=2_000_000)
    other.power_levels("by carol", {**base, BOB: 50, CAROL: 50, DAVE: 20}, sender=CAROL, ts=1_000_000)
    assert main.room.resolve(one.state, other.state)[POWER_LEVELS] == "$by bob"


@pytest.mark.parametrize("version", VERSIONS_V2)
def test_two_moderators_who_demote_each_other_at_the_same_time(version):
    main = joined_room(version, users={BOB: 60, CAROL: 50})
    one, other = main, main.fork()
    one.power_levels("by bob", {ALICE: 100, BOB: 60, CAROL: 0}, sender=BOB, ts=2_000_000)
    other.membership("bob is kicked", BOB, "leave", sender=CAROL, ts=1_000_000)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[POWER_LEVELS] == "$by bob"
    assert resolved[member(BOB)] == "$bob"


@pytest.mark.parametrize("version", VERSIONS)
def test_who_joins_while_the_room_is_closed_to_the_public_is_not_in_it(version):
    main = joined_room(version)
    one, other = main, main.fork()
    one.join_rules("invite only", "invite", ts=9_000_000)
    other.membership("dave", DAVE, "join", ts=1)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[JOIN_RULES] == "$invite only"
    assert member(DAVE) not in resolved


@pytest.mark.parametrize("version", VERSIONS)
def test_who_was_invited_while_the_room_is_closed_may_still_join(version):
    main = joined_room(version)
    main.membership("invitation", DAVE, "invite", sender=ALICE)
    one, other = main, main.fork()
    one.join_rules("invite only", "invite")
    other.membership("dave", DAVE, "join")
    assert main.room.resolve(one.state, other.state)[member(DAVE)] == "$dave"


@pytest.mark.parametrize("version", VERSIONS)
def test_of_two_topics_on_the_same_power_levels_the_later_one_stands(version):
    main = joined_room(version, users={BOB: 50})
    one, other = main, main.fork()
    one.topic("early", ts=1_000_000)
    other.topic("late", sender=BOB, ts=2_000_000)
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$late"


@pytest.mark.parametrize("version", VERSIONS)
def test_of_two_topics_of_the_same_time_the_greater_event_id_stands(version):
    main = joined_room(version, users={BOB: 50})
    one, other = main, main.fork()
    one.topic("b", ts=1_000_000)
    other.topic("a", sender=BOB, ts=1_000_000)
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$b"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_topic_on_newer_power_levels_stands_whatever_its_time(version):
    main = joined_room(version, users={BOB: 50})
    one, other = main, main.fork()
    base = {} if version == "12" else {ALICE: 100}
    one.power_levels("newer", {**base, BOB: 50, CAROL: 50})
    one.topic("on newer levels", sender=CAROL, ts=1)
    other.topic("on older levels", sender=BOB, ts=9_000_000)
    resolved = main.room.resolve(one.state, other.state)
    assert (resolved[POWER_LEVELS], resolved[TOPIC]) == ("$newer", "$on newer levels")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_topic_of_who_lost_the_power_at_the_same_time_does_not_stand(version):
    main = joined_room(version, users={BOB: 50})
    main.topic("before")
    one, other = main, main.fork()
    one.power_levels("demotion", {BOB: 0} if version == "12" else {ALICE: 100, BOB: 0})
    other.topic("after", sender=BOB, ts=9_000_000)
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$before"


@pytest.mark.parametrize("version", VERSIONS)
def test_a_key_that_one_state_lacks_is_conflicted_and_resolved(version):
    main = joined_room(version)
    one, other = main, main.fork()
    one.topic("topic")
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$topic"


@pytest.mark.parametrize("version", VERSIONS)
def test_three_states_are_resolved_together(version):
    main = joined_room(version, users={BOB: 50, CAROL: 50})
    one, two, three = main, main.fork(), main.fork()
    one.membership("ban", BOB, "ban", sender=ALICE)
    two.topic("of bob", sender=BOB, ts=9_000_000)
    three.topic("of carol", sender=CAROL)
    resolved = main.room.resolve(one.state, two.state, three.state)
    assert (resolved[member(BOB)], resolved[TOPIC]) == ("$ban", "$of carol")


def test_where_the_state_lacks_a_key_the_auth_event_is_used_unless_it_is_rejected():
    main = joined_room(users={BOB: 50})
    main.send("name", ("m.room.name", ""), {"name": "ward"}, sender=BOB)
    one, other = main, main.fork()
    one.topic("topic", sender=BOB)
    del one.state[member(BOB)], other.state[member(BOB)]
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$topic"
    main.room.rejected.add("$bob")
    assert TOPIC not in main.room.resolve(one.state, other.state)


def test_an_event_that_was_rejected_by_the_state_before_it_is_judged_like_all_others():
    main = joined_room()
    one, other = main, main.fork()
    one.topic("topic")
    main.room.rejected.add("$topic")
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$topic"


def test_an_event_of_the_auth_difference_that_no_state_holds_takes_part():
    """Bob's power comes from levels that were replaced on their own branch: they are replayed before his topic."""
    main = joined_room()
    one, other = main, main.fork()
    one.power_levels("promotion", {ALICE: 100, BOB: 50})
    one.topic("of bob", sender=BOB)
    one.power_levels("demotion", {ALICE: 100, BOB: 0})
    other.topic("of alice", ts=1)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[POWER_LEVELS] == "$demotion"
    assert resolved[TOPIC] == "$of alice"


def test_no_states_and_one_state_need_no_events():
    main = joined_room()
    assert resolve(main.room.version, [], {}, {}) == {}
    assert resolve(main.room.version, [main.state], {}, {}) == main.state
    assert resolve(main.room.version, [main.state, dict(main.state)], {}, {}) == main.state


def test_an_event_that_was_not_loaded_is_named():
    main = joined_room()
    one, other = main, main.fork()
    one.topic("topic")
    with pytest.raises(EventsNotLoaded, match="topic"):
        resolve(main.room.version, [one.state, other.state], {}, main.room.auth_graph)


def test_a_chain_of_ten_thousand_power_changes_meets_no_recursion_limit():
    main = joined_room()
    for number in range(10_000):
        main.power_levels(f"power {number}", {ALICE: 100, BOB: number % 50})
    one, other = main, main.fork()
    one.topic("one")
    other.topic("other")
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$other"
