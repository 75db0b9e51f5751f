"""State resolution v1: forks made by hand.

Spec: https://spec.matrix.org/v1.19/rooms/v1/#state-resolution
"""

import hashlib

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


def lowest_sha1(*event_ids: str) -> str:
    return min(event_ids, key=lambda event_id: hashlib.sha1(event_id.encode()).hexdigest())


def test_the_topic_of_the_highest_depth_stands():
    main = joined_room("1", users={BOB: 50})
    one, other = main, main.fork()
    one.topic("shallow", ts=9_000_000)
    other.send("deeper", ("m.room.name", ""), {"name": "x"})
    other.topic("deep", sender=BOB, ts=1)
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$deep"


def test_at_the_same_depth_the_lowest_sha1_of_the_event_id_stands():
    for names in (("a", "b"), ("c", "d"), ("e", "f")):
        main = joined_room("1")
        one, other = main, main.fork()
        one.topic(names[0])
        other.topic(names[1])
        expected = lowest_sha1(*(f"${name}" for name in names))
        assert main.room.resolve(one.state, other.state)[TOPIC] == expected


def test_a_topic_that_the_resolved_state_does_not_allow_does_not_stand():
    main = joined_room("1", users={BOB: 50})
    one, other = main, main.fork()
    one.topic("of alice")
    other.send("deeper", ("m.room.name", ""), {"name": "x"})
    other.topic("of bob", sender=BOB)
    one.membership("ban", BOB, "ban", sender=ALICE)
    other.state.pop(("m.room.name", ""))
    resolved = main.room.resolve(one.state, other.state)
    assert (resolved[member(BOB)], resolved[TOPIC]) == ("$ban", "$of alice")


def test_where_no_event_is_allowed_the_one_of_least_depth_stands():
    main = joined_room("1")
    one, other = main, main.fork()
    one.topic("first", sender=DAVE)
    other.send("name", ("m.room.name", ""), {"name": "x"})
    other.topic("second", sender=DAVE)
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$first"


def test_power_levels_are_accepted_by_depth_until_one_is_not_allowed():
    main = joined_room("1", users={BOB: 50})
    one, two, three = main, main.fork(), main.fork()
    one.power_levels("demotion", {ALICE: 100, BOB: 0})
    two.topic("deeper")
    two.power_levels("by bob", {ALICE: 100, BOB: 50, CAROL: 50}, sender=BOB)
    three.topic("deeper still")
    three.send("name", ("m.room.name", ""), {"name": "x"})
    three.power_levels("by alice", {ALICE: 100, BOB: 50, CAROL: 10})
    assert main.room.resolve(one.state, two.state, three.state)[POWER_LEVELS] == "$demotion"
    assert main.room.resolve(one.state, three.state)[POWER_LEVELS] == "$by alice"


def test_power_levels_decide_over_join_rules_and_those_over_memberships():
    main = joined_room("1", users={BOB: 50})
    one, other = main, main.fork()
    one.power_levels("demotion", {ALICE: 100, BOB: 0})
    one.join_rules("invite only", "invite")
    other.topic("deeper")
    other.send("name", ("m.room.name", ""), {"name": "x"})
    other.join_rules("open again", "public", sender=BOB)
    other.power_levels("by bob", {ALICE: 100, BOB: 50, CAROL: 50}, sender=BOB)
    resolved = main.room.resolve(one.state, other.state)
    assert resolved[POWER_LEVELS] == "$demotion"
    assert resolved[JOIN_RULES] == "$invite only"


def test_memberships_are_resolved_by_depth():
    main = joined_room("1")
    one, other = main, main.fork()
    one.membership("ban", BOB, "ban", sender=ALICE)
    other.topic("deeper")
    other.membership("renamed", BOB, "join")
    assert main.room.resolve(one.state, other.state)[member(BOB)] == "$ban"


def test_a_key_that_one_state_lacks_is_no_conflict():
    main = joined_room("1")
    one, other = main, main.fork()
    one.topic("topic", sender=DAVE)
    assert main.room.resolve(one.state, other.state)[TOPIC] == "$topic"
