"""Power levels: how they are read, and the rule "If type is m.room.power_levels".

Spec: https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules
"""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

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
from tim_server.matrix.event_auth.power_levels import PowerLevels, creators_of, read_level
from tim_server.matrix.room_versions import V5, V6, V9, V10, V11, V12

every_version = pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
until_v9 = pytest.mark.parametrize("version", versions(1, 9), ids=version_name)
since_v10 = pytest.mark.parametrize("version", versions(10), ids=version_name)
PROPERTIES = ["users_default", "events_default", "state_default", "ban", "redact", "kick", "invite"]


def power_of(room):
    """The power levels of the room's state."""
    return PowerLevels.of(room.state.get(("m.room.power_levels", "")), room.create)


# Reading


@every_version
def test_levels_that_are_not_stated_have_their_defaults(version):
    room = make_room(version)
    room.set("m.room.power_levels", {})
    power = power_of(room)
    assert (power.ban, power.kick, power.redact, power.invite) == (50, 50, 50, 0)
    assert power.event_level("m.room.topic", is_state=True) == 50
    assert power.event_level("m.room.message", is_state=False) == 0
    assert power.user_level(BOB) == 0


@every_version
def test_levels_that_are_stated(version):
    room = make_room(version)
    room.set_power(users={BOB: 7}, users_default=3, events={"a": 9}, state_default=8, events_default=6, ban=1, invite=2)
    power = power_of(room)
    assert (power.user_level(BOB), power.user_level(CAROL)) == (7, 3)
    assert (power.event_level("a", is_state=True), power.event_level("a", is_state=False)) == (9, 9)
    assert (power.event_level("b", is_state=True), power.event_level("b", is_state=False)) == (8, 6)
    assert (power.ban, power.invite) == (1, 2)


@every_version
def test_without_power_levels_the_creator_has_100_and_since_v12_more_than_any_number(version):
    room = make_room(version)
    del room.state["m.room.power_levels", ""]
    power = power_of(room)
    assert power.user_level(ALICE) == (math.inf if version is V12 else 100)
    assert power.user_level(BOB) == 0
    assert power.event_level("m.room.topic", is_state=True) == 50
    assert power.event_level("m.room.message", is_state=False) == 0


def test_the_creator_has_what_the_power_levels_say_until_v11():
    for version in versions(1, 11):
        room = make_room(version)
        room.set("m.room.power_levels", {"users": {BOB: 100}})
        assert power_of(room).user_level(ALICE) == 0


@pytest.mark.parametrize("additional", [None, "text", 5, {}])
def test_creators_of_v12_are_the_sender_and_the_additional_ones(additional):
    assert creators_of(make_room(V12, additional_creators=additional).create) == {ALICE}
    assert creators_of(make_room(V12, additional_creators=[str(BOB)]).create) == {ALICE, BOB}
    assert creators_of(make_room(V11, additional_creators=[str(BOB)]).create) == {ALICE}
    assert creators_of(None) == set()


@pytest.mark.parametrize(
    ("value", "level"),
    [
        ("50", 50),
        ("000100", 100),
        ("+100", 100),
        ("-100", -100),
        (" 100 ", 100),
        (" 00100 ", 100),
        (" +100 ", 100),
        (" -100 ", -100),
        ("\t\n7\r", 7),
        ("", None),
        (" ", None),
        ("1.5", None),
        ("1e3", None),
        ("1_000", None),
        ("- 5", None),
        ("+-5", None),
        ("0x10", None),
        ("٣", None),
        ("five", None),
        ("9" * 5000, None),
    ],
)
def test_strings_that_are_integers_count_until_v9(value, level):
    assert read_level(value, integers_only=False) == level
    assert read_level(value, integers_only=True) is None


@pytest.mark.parametrize(
    ("value", "level"),
    [(50.57, 50), (-50.57, -50), (51146.98, 51146), (1e15, 10**15), (math.inf, None), (math.nan, None)],
)
def test_floats_are_truncated(value, level):
    assert read_level(value, integers_only=False) == level
    assert read_level(value, integers_only=True) is None


@pytest.mark.parametrize("value", [None, True, False, [], {}, [50]])
def test_what_is_no_number_is_no_level(value):
    assert read_level(value, integers_only=False) is None
    assert read_level(value, integers_only=True) is None


@until_v9
def test_string_levels_count_in_the_rules_until_v9(version):
    room = make_room(version)
    room.set_power(users={BOB: " +30 "}, events={"m.room.topic": "030", "m.room.name": "31"}, ban="30", kick="31")
    assert room.allows("m.room.topic", BOB, state_key="")
    assert not room.allows("m.room.name", BOB, state_key="")
    assert room.allows_member(BOB, CAROL, "ban")
    assert not room.allows_member(BOB, CAROL, "leave")


# 10.1 to 10.3: the form


@since_v10
@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("value", ["50", 1.5, None, True, [], {}])
def test_levels_must_be_integers_since_v10(version, name, value):
    assert not make_room(version).allows_power(ALICE, **{name: value})


@until_v9
@pytest.mark.parametrize("name", PROPERTIES)
def test_levels_may_be_strings_until_v9(version, name):
    room = make_room(version)
    assert room.allows_power(ALICE, users={ALICE: "100"}, **{name: "50"})
    assert not room.allows_power(ALICE, users={ALICE: "100"}, **{name: "101"})


@since_v10
@pytest.mark.parametrize("name", ["events", "notifications"])
@pytest.mark.parametrize("value", [None, [], "text", 5, {"a": "50"}, {"a": None}, {"a": 1.5}, {"a": True}, {"a": {}}])
def test_events_and_notifications_must_be_objects_of_integers_since_v10(version, name, value):
    assert not make_room(version).allows_power(ALICE, **{name: value})
    assert make_room(version).allows_power(ALICE, **{name: {"a": 50}})


@every_version
@pytest.mark.parametrize(
    "users",
    [
        None,
        [],
        "text",
        5,
        {"bob": 5},
        {"@bob": 5},
        {"": 5},
        {BOB: None},
        {BOB: "five"},
        {BOB: True},
        {BOB: [5]},
        {BOB: {}},
    ],
)
def test_users_must_be_an_object_of_users_and_integers(version, users):
    for has_power_levels in (True, False):
        room = make_room(version)
        if not has_power_levels:
            del room.state["m.room.power_levels", ""]
        assert not room.allows_power(ALICE, users=users)


def test_users_may_have_strings_until_v9():
    assert make_room(V9).allows_power(ALICE, users={ALICE: "100", BOB: " 50 "})
    assert not make_room(V10).allows_power(ALICE, users={ALICE: 100, BOB: "50"})


# 10.4: creators


def test_power_levels_that_name_a_creator_are_rejected_since_v12():
    room = make_room(V12, additional_creators=[str(CAROL)])
    assert room.allows_power(ALICE, users={BOB: 50})
    assert not room.allows_power(ALICE, users={ALICE: 100})
    assert not room.allows_power(ALICE, users={CAROL: 100})
    assert make_room(V11, additional_creators=[str(CAROL)]).allows_power(ALICE, users={ALICE: 100, CAROL: 100})


def test_power_levels_that_name_a_creator_are_rejected_also_when_they_are_the_first():
    room = make_room(V12)
    del room.state["m.room.power_levels", ""]
    assert not room.allows_power(ALICE, users={ALICE: 100})


# 10.5: the first power levels


@every_version
def test_the_first_power_levels_are_allowed_whatever_they_say(version):
    room = make_room(version)
    del room.state["m.room.power_levels", ""]
    huge = dict.fromkeys(PROPERTIES, 1000)
    assert room.allows_power(ALICE, users={BOB: 1000}, events={"a": 1000}, notifications={"room": 1000}, **huge)


@every_version
def test_the_first_power_levels_need_the_level_of_state(version):
    room = make_room(version)
    del room.state["m.room.power_levels", ""]
    assert not room.allows_power(BOB, users={BOB: 100})


# 10.6 to 10.10: changes


def room_of_bob(version, level=50, **content):
    """A room where Bob has this level, which suffices to send power levels."""
    room = make_room(version)
    room.set_power(users={BOB: level, **content.pop("users", {})}, events={"m.room.power_levels": 0}, **content)
    return room


def changed(room, **changes):
    """Whether Bob may make these changes; None removes a key."""
    content = {**room.state["m.room.power_levels", ""].content}
    for name, value in changes.items():
        if isinstance(value, dict):
            merged = {**content.get(name, {}), **value}
            content[name] = {key: item for key, item in merged.items() if item is not None}
        elif value is None:
            del content[name]
        else:
            content[name] = value
    return room.allows_power(BOB, **content)


@every_version
def test_the_same_power_levels_again_are_allowed(version):
    everything = dict.fromkeys(PROPERTIES, 99) | {"users_default": 0, "state_default": 40}
    assert changed(room_of_bob(version, users={CAROL: 99}, notifications={"room": 99}, **everything))


@every_version
@pytest.mark.parametrize("name", PROPERTIES)
def test_a_level_is_added_changed_and_removed_by_those_who_have_it(version, name):
    absent = room_of_bob(version)
    assert changed(absent, **{name: 50})
    assert not changed(absent, **{name: 51})
    at_level = room_of_bob(version, **{name: 50})
    assert changed(at_level, **{name: 49})
    assert changed(at_level, **{name: None})
    assert not changed(at_level, **{name: 51})
    above = room_of_bob(version, **{name: 51})
    assert not changed(above, **{name: 50})
    assert not changed(above, **{name: None})


@every_version
@pytest.mark.parametrize("name", ["events", "notifications"])
def test_an_entry_is_added_changed_and_removed_by_those_who_have_its_level(version, name):
    checked = name == "events" or version in versions(6)
    absent = room_of_bob(version)
    assert changed(absent, **{name: {"room": 50}})
    assert changed(absent, **{name: {"room": 51}}) is not checked
    if name == "events":
        at_level = make_room(version)
        at_level.set_power(users={BOB: 50}, events={"m.room.power_levels": 0, "room": 50})
        above = make_room(version)
        above.set_power(users={BOB: 50}, events={"m.room.power_levels": 0, "room": 51})
    else:
        at_level = room_of_bob(version, notifications={"room": 50})
        above = room_of_bob(version, notifications={"room": 51})
    assert changed(at_level, **{name: {"room": 49}})
    assert changed(at_level, **{name: {"room": None}})
    assert changed(at_level, **{name: {"room": 51}}) is not checked
    assert changed(above, **{name: {"room": 50}}) is not checked
    assert changed(above, **{name: {"room": None}}) is not checked


def test_notifications_are_checked_since_v6():
    assert changed(room_of_bob(V5), notifications={"room": 1000})
    assert not changed(room_of_bob(V6), notifications={"room": 1000})


@every_version
def test_a_user_is_raised_to_the_senders_level_at_most(version):
    room = room_of_bob(version)
    assert changed(room, users={MALLORY: 50})
    assert not changed(room, users={MALLORY: 51})
    assert not changed(room, users={BOB: 51})
    known = room_of_bob(version, users={CAROL: 10})
    assert changed(known, users={CAROL: 50})
    assert not changed(known, users={CAROL: 51})


@every_version
def test_a_user_of_the_same_level_is_neither_changed_nor_removed(version):
    lower = room_of_bob(version, users={CAROL: 49})
    assert changed(lower, users={CAROL: 0})
    assert changed(lower, users={CAROL: None})
    for level in (50, 51):
        equal_or_higher = room_of_bob(version, users={CAROL: level})
        assert not changed(equal_or_higher, users={CAROL: 0})
        assert not changed(equal_or_higher, users={CAROL: None})


@every_version
def test_the_sender_lowers_and_removes_itself(version):
    assert changed(room_of_bob(version), users={BOB: 10})
    assert changed(room_of_bob(version), users={BOB: None})


@every_version
def test_a_user_without_entry_has_the_default_of_the_room(version):
    room = make_room(version)
    room.set_power(users_default=20, events={"m.room.power_levels": 0})
    assert room.allows_power(BOB, **room.state["m.room.power_levels", ""].content | {"ban": 20})
    assert not room.allows_power(BOB, **room.state["m.room.power_levels", ""].content | {"ban": 21})


@until_v9
def test_the_same_level_as_a_string_is_no_change(version):
    room = room_of_bob(version, ban=90, users={CAROL: 90})
    assert changed(room, ban="90", users={CAROL: " 090 "})
    assert not changed(room, ban="91")


def test_a_creator_changes_everything_since_v12():
    huge = 2**53 - 1
    room = make_room(V12)
    room.set_power(users={BOB: huge}, ban=huge, events={"m.room.power_levels": huge})
    assert room.allows_power(ALICE, users={CAROL: huge}, ban=0)
    assert not room.allows_power(CAROL, users={})


LEVELS = st.integers(-5, 105)


@given(
    version=st.sampled_from(ALL_VERSIONS),
    before=st.dictionaries(st.sampled_from([*PROPERTIES]), LEVELS),
    after=st.dictionaries(st.sampled_from([*PROPERTIES]), LEVELS),
    users_before=st.dictionaries(st.sampled_from([CAROL, MALLORY]), LEVELS),
    users_after=st.dictionaries(st.sampled_from([BOB, CAROL, MALLORY]), LEVELS),
    level=st.integers(0, 100),
)
def test_no_change_that_is_allowed_touches_what_is_above_the_sender(
    version, before, after, users_before, users_after, level
):
    room = room_of_bob(version, level, users=users_before, **before)
    content = {**after, "users": users_after, "events": {"m.room.power_levels": 0}}
    if not version.privileged_creators and ALICE not in users_after:
        content["users"] = {**users_after, ALICE: 100}
    if not room.allows_power(BOB, **content):
        return
    for name in PROPERTIES:
        old, new = before.get(name), after.get(name)
        assert old == new or max(value for value in (old, new) if value is not None) <= level
    for user_id in (CAROL, MALLORY):
        old, new = users_before.get(user_id), users_after.get(user_id)
        assert old == new or ((old is None or old < level) and (new is None or new <= level))
    assert users_after.get(BOB, level) <= level
