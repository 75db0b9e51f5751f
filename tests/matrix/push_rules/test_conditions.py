"""Conditions of push rules.

Spec: https://spec.matrix.org/v1.19/client-server-api/#conditions-1
"""

import pytest

from tests.matrix.push_rules.factories import push_context, push_event
from tim_server.matrix.push_rules.conditions import read_condition


def holds(condition, event=None, **context) -> bool:
    return read_condition(condition).holds(event or push_event(), push_context(**context))


@pytest.mark.parametrize(
    ("topic", "matches"),
    [("Lunch plans", True), ("LUNCH", True), (" lunch", False), ("lunc", False), (None, False), (1, False)],
)
def test_event_match_matches_the_entire_value_whatever_the_case(topic, matches):
    condition = {"kind": "event_match", "key": "content.topic", "pattern": "lunc?*"}
    assert holds(condition, push_event(content={"topic": topic})) is matches


@pytest.mark.parametrize(
    ("body", "matches"),
    [
        ("An example event.", True),
        ("exple", True),
        ("An exciting triple-whammy", True),
        ("no exampled", False),
        ("my_example", False),
    ],
)
def test_event_match_on_the_body_matches_words(body, matches):
    condition = {"kind": "event_match", "key": "content.body", "pattern": "ex*ple"}
    assert holds(condition, push_event(content={"body": body})) is matches


@pytest.mark.parametrize("content", [{}, {"body": None}, {"body": ["x"]}, {"body": {"x": "y"}}])
def test_event_match_does_not_match_what_is_absent_or_no_string_even_with_a_star(content):
    assert not holds({"kind": "event_match", "key": "content.body", "pattern": "*"}, push_event(content=content))


def test_event_match_has_no_implicit_condition_for_the_state_key():
    name_is_tombstone = {"kind": "event_match", "key": "type", "pattern": "m.room.tombstone"}
    is_state = {"kind": "event_match", "key": "state_key", "pattern": ""}
    assert holds(name_is_tombstone, push_event(type="m.room.tombstone"))
    assert not holds(is_state, push_event(type="m.room.tombstone"))
    assert holds(is_state, push_event(type="m.room.tombstone", state_key=""))


@pytest.mark.parametrize(
    ("value", "found", "matches"),
    [
        (True, True, True),
        (True, "true", False),
        (True, 1, False),
        (1, True, False),
        (1, 1, True),
        (1, 1.0, False),
        (0, False, False),
        (None, None, True),
        ("a", "a", True),
        ("a", "A", False),
        ("a", ["a"], False),
        ({}, {}, False),
        ([], [], False),
        (1.5, 1.5, False),
        (2**53, 2**53, False),
    ],
)
def test_event_property_is_matches_exactly_and_without_casts(value, found, matches):
    condition = {"kind": "event_property_is", "key": r"content.m\.federate", "value": value}
    assert holds(condition, push_event(content={"m.federate": found})) is matches


def test_event_property_is_does_not_match_an_absent_property():
    assert not holds({"kind": "event_property_is", "key": "content.x", "value": None})
    assert not holds({"kind": "event_property_is", "key": "content.x"})


@pytest.mark.parametrize(
    ("found", "matches"),
    [
        (["#somewhere:example.org", "#myroom:example.com"], True),
        ([":example.com"], False),
        ("#myroom:example.com", False),
        ({"#myroom:example.com": True}, False),
        ([["#myroom:example.com"]], False),
        ([], False),
    ],
)
def test_event_property_contains_matches_an_exact_value_of_an_array(found, matches):
    condition = {"kind": "event_property_contains", "key": "content.alt_aliases", "value": "#myroom:example.com"}
    assert holds(condition, push_event(content={"alt_aliases": found})) is matches


@pytest.mark.parametrize(
    ("display_name", "body", "matches"),
    [
        ("Alice", "good morning alice!", True),
        ("Alice", "malice", False),
        ("Dr. *", "Dr. * is here", True),
        ("Dr. *", "Dr. Bob is here", False),
        ("", "anything", False),
        (None, "anything", False),
    ],
)
def test_contains_display_name_matches_the_name_as_words(display_name, body, matches):
    condition = {"kind": "contains_display_name"}
    assert holds(condition, push_event(content={"body": body}), display_name=display_name) is matches


@pytest.mark.parametrize(
    ("comparison", "counts"),
    [("2", {2}), ("==2", {2}), ("<2", {1}), (">2", {3}), ("<=2", {1, 2}), (">=2", {2, 3})],
)
def test_room_member_count_compares(comparison, counts):
    condition = {"kind": "room_member_count", "is": comparison}
    assert {count for count in (1, 2, 3) if holds(condition, room_member_count=count)} == counts


@pytest.mark.parametrize("comparison", ["", "two", "=2", "!=2", "2 ", "-2", "2.0", 2, None, "٢", "<" + "9" * 5000])
def test_a_room_member_count_that_is_not_understood_never_matches(comparison):
    assert not holds({"kind": "room_member_count", "is": comparison}, room_member_count=2)


def test_sender_notification_permission_needs_the_level_of_the_key():
    condition = {"kind": "sender_notification_permission", "key": "room"}
    assert not holds(condition, sender_power_level=19, notification_levels={"room": 20})
    assert holds(condition, sender_power_level=20, notification_levels={"room": 20})
    assert holds(condition, sender_power_level=float("inf"), notification_levels={"room": 20})


def test_sender_notification_permission_is_50_by_default():
    condition = {"kind": "sender_notification_permission", "key": "room"}
    assert not holds(condition, sender_power_level=49)
    assert holds(condition, sender_power_level=50)


@pytest.mark.parametrize(
    "condition",
    [
        {"kind": "org.example.unknown"},
        {},
        {"kind": ["event_match"]} | {"kind": "event_matches"},
        {"kind": "event_match", "key": "type"},
        {"kind": "event_match", "pattern": "*"},
        {"kind": "event_match", "key": 1, "pattern": "*"},
        {"kind": "event_property_contains", "key": "content.x"},
        {"kind": "sender_notification_permission"},
    ],
)
def test_unrecognised_and_incomplete_conditions_never_match(condition):
    assert not holds(condition, sender_power_level=100)
