"""State resolution v2.1: what room version 12 mends, beside what v2 makes of the same fork.

Spec: https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
"""

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


def join_before_the_room_was_closed(version: str):
    """Dave joined while the room was public; both states know that it is closed now, one has missed Dave."""
    main = joined_room(version)
    without_dave = main.fork()
    main.membership("dave", DAVE, "join")
    main.join_rules("invite only", "invite")
    without_dave.state[JOIN_RULES] = main.state[JOIN_RULES]
    return main.room.resolve(main.state, without_dave.state)


def test_the_iterative_auth_checks_start_from_an_empty_state():
    assert join_before_the_room_was_closed("12")[member(DAVE)] == "$dave"


def test_in_v2_they_start_from_the_unconflicted_state_which_resets_an_old_join():
    assert member(DAVE) not in join_before_the_room_was_closed("11")


def power_levels_that_build_on_each_other(version: str):
    """`$first` ← `$second` ← `$third`, the last by Bob, who got his power in the second.

    One state has the third. The other fell back to the first, but holds a topic that cites the second: so the second
    is in both auth chains, and neither in the auth difference nor in a state.
    """
    main = joined_room(version)
    base = {} if version == "12" else {ALICE: 100}
    main.power_levels("first", {**base, CAROL: 1})
    main.power_levels("second", {**base, CAROL: 1, BOB: 50})
    main.topic("topic", sender=BOB)
    fallen_back = main.fork()
    fallen_back.state[POWER_LEVELS] = "$first"
    main.power_levels("third", {**base, CAROL: 2, BOB: 50}, sender=BOB)
    return main.room.resolve(main.state, fallen_back.state)


def test_the_conflicted_state_subgraph_is_replayed_too():
    assert power_levels_that_build_on_each_other("12")[POWER_LEVELS] == "$third"


def test_in_v2_the_events_between_are_not_replayed_which_resets_the_power_levels():
    assert power_levels_that_build_on_each_other("11")[POWER_LEVELS] == "$first"


def test_the_unconflicted_state_is_laid_over_the_result():
    """What is replayed from the subgraph never replaces what all states agree on."""
    main = joined_room("12")
    one, other = main, main.fork()
    one.membership("bob leaves", BOB, "leave")
    other.membership("bob is renamed", BOB, "join")
    resolved = main.room.resolve(one.state, other.state)
    assert {key: resolved[key] for key in main.state if key != member(BOB)} == {
        key: event_id for key, event_id in main.state.items() if key != member(BOB)
    }


def test_the_create_event_is_implied_by_the_room_id():
    main = joined_room("12")
    one, other = main, main.fork()
    one.topic("topic")
    assert all("$create" not in event.auth_events for event in main.room.events.values())
    resolved = main.room.resolve(one.state, other.state)
    assert (resolved["m.room.create", ""], resolved[TOPIC]) == ("$create", "$topic")


def test_a_creator_outranks_every_power_level():
    """Alice is the creator: her ban is ordered before what Bob, at the greatest possible level, does earlier."""
    main = joined_room("12", users={BOB: 2**53 - 1})
    one, other = main, main.fork()
    one.membership("ban", BOB, "ban", sender=ALICE, ts=9_000_000)
    other.power_levels("of bob", {BOB: 2**53 - 1, CAROL: 2**53 - 1}, sender=BOB, ts=1)
    resolved = main.room.resolve(one.state, other.state)
    assert (resolved[member(BOB)], resolved[POWER_LEVELS]) == ("$ban", "$power")


def test_additional_creators_outrank_power_levels_as_well():
    main = joined_room("12", users={CAROL: 100})
    create = main.room.events["$create"]
    create.content["additional_creators"] = [BOB]
    one, other = main, main.fork()
    one.membership("ban", CAROL, "ban", sender=BOB, ts=9_000_000)
    other.power_levels("of carol", {CAROL: 100, ALICE: 0} | {"@eve:lab.example": 100}, sender=CAROL, ts=1)
    resolved = main.room.resolve(one.state, other.state)
    assert (resolved[member(CAROL)], resolved[POWER_LEVELS]) == ("$ban", "$power")
