"""Filters, field by field.

Spec: https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

import pickle

import pytest

from tim_server.matrix.errors import BadJson, InvalidParam
from tim_server.matrix.filters import EventFormat, Filter, parse_event_filter, parse_filter, parse_room_event_filter

ALICE = "@alice:hospital.example"
BOB = "@bob:clinic.example"
WARD = "!ward:hospital.example"
LAB = "!lab:hospital.example"

# The example of POST /user/{userId}/filter.
EXAMPLE = {
    "room": {
        "state": {"types": ["m.room.*"], "not_rooms": ["!726s6s6q:example.com"]},
        "timeline": {
            "limit": 10,
            "types": ["m.room.message"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
        "ephemeral": {
            "types": ["m.receipt", "m.typing"],
            "not_rooms": ["!726s6s6q:example.com"],
            "not_senders": ["@spam:example.com"],
        },
    },
    "presence": {"types": ["m.presence"], "not_senders": ["@alice:example.com"]},
    "event_format": "client",
    "event_fields": ["type", "content", "sender"],
}


def test_the_example_of_the_specification():
    example = parse_filter(EXAMPLE)
    assert example.room.state.allows("m.room.member", ALICE)
    assert not example.room.state.allows("com.example.custom", ALICE)
    assert example.room.timeline.allows("m.room.message", ALICE)
    assert not example.room.timeline.allows("m.room.message", "@spam:example.com")
    assert not example.room.timeline.allows_room("!726s6s6q:example.com")
    assert example.room.timeline.events.limit == 10
    assert example.room.ephemeral.allows("m.typing")
    assert not example.presence.allows("m.presence", "@alice:example.com")
    assert example.event_format is EventFormat.CLIENT
    assert example.selected_fields({"type": "t", "content": {}, "sender": ALICE, "event_id": "$1"}) == {
        "type": "t",
        "content": {},
        "sender": ALICE,
    }


def test_an_empty_filter_includes_everything_but_rooms_that_were_left():
    everything = parse_filter({})
    assert everything == Filter()
    assert everything.room.timeline.allows("m.room.message", ALICE, has_url=True)
    assert everything.room.allows_room(WARD)
    assert everything.account_data.allows("m.direct")
    assert everything.room.include_leave is False
    event = {"type": "t", "content": {"body": "x"}}
    assert everything.selected_fields(event) is event


@pytest.mark.parametrize("key", ["types", "senders"])
def test_an_empty_list_includes_nothing_where_an_absent_one_includes_all(key):
    nothing = parse_event_filter({key: []})
    assert not nothing.allows("m.room.message", ALICE)
    assert nothing.allows_nothing
    assert not parse_event_filter({f"not_{key}": []}).allows_nothing
    assert parse_event_filter({f"not_{key}": []}).allows("m.room.message", ALICE)


def test_not_types_takes_precedence_over_types():
    events = parse_event_filter({"types": ["m.room.*"], "not_types": ["m.room.member", "*.topic"]})
    assert events.allows("m.room.name", ALICE)
    assert not events.allows("m.room.member", ALICE)
    assert not events.allows("m.room.topic", ALICE)


def test_not_senders_takes_precedence_over_senders():
    events = parse_event_filter({"senders": [ALICE, BOB], "not_senders": [BOB]})
    assert events.allows("m.room.message", ALICE)
    assert not events.allows("m.room.message", BOB)
    assert not events.allows("m.room.message", "@carol:hospital.example")


def test_what_has_no_sender_is_excluded_by_a_list_of_senders_only():
    assert parse_event_filter({"not_senders": [BOB]}).allows("m.typing")
    assert not parse_event_filter({"senders": [BOB]}).allows("m.typing")


@pytest.mark.parametrize(
    ("pattern", "event_type", "matches"),
    [
        ("*", "anything", True),
        ("m.*", "m.room.message", True),
        ("m.*.message", "m.room.message", True),
        ("*.message", "m.room.message", True),
        ("m.room.?essage", "m.room.message", False),
        ("m.room", "m.room.message", False),
        ("m*room", "m.room", True),
        ("m.[r]oom*", "m.room", False),
    ],
)
def test_a_star_in_a_type_matches_any_sequence_of_characters(pattern, event_type, matches):
    assert parse_event_filter({"types": [pattern]}).allows(event_type, ALICE) is matches


def test_not_rooms_takes_precedence_over_rooms():
    events = parse_room_event_filter({"rooms": [WARD, LAB], "not_rooms": [LAB]})
    assert events.allows_room(WARD)
    assert not events.allows_room(LAB)
    assert not events.allows_room("!other:hospital.example")
    room = parse_filter({"room": {"rooms": [], "not_rooms": []}}).room
    assert not room.allows_room(WARD)


@pytest.mark.parametrize(
    ("contains_url", "has_url", "included"),
    [
        (True, True, True),
        (True, False, False),
        (False, True, False),
        (False, False, True),
        (None, True, True),
        (None, False, True),
    ],
)
def test_contains_url_includes_only_or_excludes_events_with_a_url(contains_url, has_url, included):
    definition = {} if contains_url is None else {"contains_url": contains_url}
    assert parse_room_event_filter(definition).allows("m.room.message", ALICE, has_url=has_url) is included


def test_redundant_members_need_lazy_loading():
    assert not parse_room_event_filter({"include_redundant_members": True}).sends_redundant_members
    lazy = parse_room_event_filter({"lazy_load_members": True, "include_redundant_members": True})
    assert lazy.lazy_load_members
    assert lazy.sends_redundant_members
    assert not parse_room_event_filter({"lazy_load_members": True}).sends_redundant_members


def test_thread_notifications_and_left_rooms_are_asked_for():
    asked = parse_filter({"room": {"include_leave": True, "timeline": {"unread_thread_notifications": True}}})
    assert asked.room.include_leave
    assert asked.room.timeline.unread_thread_notifications
    assert not Filter().room.timeline.unread_thread_notifications


@pytest.mark.parametrize(("limit", "expected"), [(None, 20), (5, 5), (1000, 100), (0, 0), (2**53, 100)])
def test_the_server_applies_a_default_and_a_maximum_to_the_limit(limit, expected):
    definition = {} if limit is None else {"limit": limit}
    assert parse_event_filter(definition).limit_within(default=20, maximum=100) == expected


def test_event_fields_are_dot_separated_paths():
    selected = parse_filter({"event_fields": ["content.body", r"content.m\.mentions"]})
    event = {"type": "t", "content": {"body": "x", "m.mentions": {"room": True}, "format": "f"}}
    assert selected.selected_fields(event) == {"content": {"body": "x", "m.mentions": {"room": True}}}
    assert parse_filter({"event_fields": []}).selected_fields(event) == {}


def test_the_federation_format_is_asked_for():
    assert parse_filter({"event_format": "federation"}).event_format is EventFormat.FEDERATION


@pytest.mark.parametrize(
    "definition",
    [
        {"event_fields": "content"},
        {"event_fields": [1]},
        {"event_format": 1},
        {"presence": []},
        {"account_data": None},
        {"room": "!ward:hospital.example"},
        {"room": {"timeline": {"limit": "10"}}},
        {"room": {"timeline": {"limit": True}}},
        {"room": {"timeline": {"limit": 1.5}}},
        {"room": {"timeline": {"types": "m.room.message"}}},
        {"room": {"state": {"lazy_load_members": "true"}}},
        {"room": {"state": {"contains_url": None}}},
        {"room": {"include_leave": 1}},
        {"room": {"rooms": {}}},
    ],
)
def test_a_wrong_type_is_bad_json(definition):
    with pytest.raises(BadJson):
        parse_filter(definition)


@pytest.mark.parametrize(
    "definition",
    [
        {"event_format": "xml"},
        {"presence": {"limit": -1}},
        {"presence": {"senders": ["alice"]}},
        {"presence": {"not_senders": ["!ward:hospital.example"]}},
        {"presence": {"types": ["*" * 513]}},
        {"presence": {"types": [f"{number}.*" for number in range(101)]}},
        {"event_fields": [f"content.{number}" for number in range(201)]},
        {"room": {"rooms": ["#alias:hospital.example"]}},
        {"room": {"timeline": {"not_rooms": [""]}}},
    ],
)
def test_a_wrong_value_is_an_invalid_param(definition):
    with pytest.raises(InvalidParam):
        parse_filter(definition)


def test_unknown_keys_are_ignored():
    assert parse_filter({"org.example.extension": {"x": 1}, "room": {"unknown": True}}) == Filter()


def test_filters_are_values_that_can_be_cached_and_sent_to_another_process():
    one, other = parse_filter(EXAMPLE), parse_filter(EXAMPLE)
    assert one == other
    assert hash(one) == hash(other)
    assert pickle.loads(pickle.dumps(one)) == one
