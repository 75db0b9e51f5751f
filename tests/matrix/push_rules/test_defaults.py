"""The server-default rules and what they make of the events that they are for.

Spec: https://spec.matrix.org/v1.19/client-server-api/#predefined-rules
"""

import pytest

from tests.matrix.push_rules.factories import ALICE, BOB, push_context, push_event
from tim_server.matrix.push_rules import (
    DEFAULT_RULES_OF_OTHERS,
    RuleKind,
    default_rules,
    evaluate,
    users_named_by,
    with_enabled,
)
from tim_server.matrix.push_rules.user_rules import UserRules, effective_rules


def outcome(event, **context):
    return evaluate(default_rules(ALICE), event, push_context(**context))


def test_the_rules_stand_in_the_order_of_the_specification():
    rules = default_rules(ALICE)
    assert [rule.rule_id for rule in rules.override] == [
        ".m.rule.master",
        ".m.rule.suppress_notices",
        ".m.rule.invite_for_me",
        ".m.rule.member_event",
        ".m.rule.is_user_mention",
        ".m.rule.is_room_mention",
        ".m.rule.tombstone",
        ".m.rule.reaction",
        ".m.rule.room.server_acl",
        ".m.rule.suppress_edits",
    ]
    assert [rule.rule_id for rule in rules.underride] == [
        ".m.rule.call",
        ".m.rule.encrypted_room_one_to_one",
        ".m.rule.room_one_to_one",
        ".m.rule.message",
        ".m.rule.encrypted",
    ]
    assert (rules.content, rules.room, rules.sender) == ((), (), ())


def test_all_but_the_master_rule_are_enabled():
    assert [rule.rule_id for rule in default_rules(ALICE).in_order() if not rule.enabled] == [".m.rule.master"]
    assert all(rule.default for rule in default_rules(ALICE).in_order())


def test_clients_see_the_rules_as_the_specification_defines_them():
    override = {rule["rule_id"]: rule for rule in default_rules(ALICE).as_json()["override"]}
    assert override[".m.rule.master"] == {
        "rule_id": ".m.rule.master",
        "default": True,
        "enabled": False,
        "conditions": [],
        "actions": [],
    }
    assert override[".m.rule.is_user_mention"] == {
        "rule_id": ".m.rule.is_user_mention",
        "default": True,
        "enabled": True,
        "conditions": [
            {"kind": "event_property_contains", "key": "content.m\\.mentions.user_ids", "value": ALICE},
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "default"}, {"set_tweak": "highlight"}],
    }
    assert override[".m.rule.invite_for_me"]["conditions"] == [
        {"kind": "event_match", "key": "type", "pattern": "m.room.member"},
        {"kind": "event_match", "key": "content.membership", "pattern": "invite"},
        {"kind": "event_match", "key": "state_key", "pattern": ALICE},
    ]


MEMBER = {"type": "m.room.member", "content": {"membership": "invite"}}
MENTION = {"msgtype": "m.text", "body": "x", "m.mentions": {"user_ids": [ALICE]}}
ROOM_MENTION = {"msgtype": "m.text", "body": "x", "m.mentions": {"room": True}}
EDIT = {"msgtype": "m.text", "body": "x", "m.relates_to": {"rel_type": "m.replace", "event_id": "$x"}}


@pytest.mark.parametrize(
    ("event", "context", "rule_id", "notify", "highlight", "sound"),
    [
        ({"content": {"msgtype": "m.notice", "body": "x"}}, {}, ".m.rule.suppress_notices", False, False, None),
        ({**MEMBER, "state_key": ALICE}, {}, ".m.rule.invite_for_me", True, False, "default"),
        ({**MEMBER, "state_key": BOB}, {}, ".m.rule.member_event", False, False, None),
        ({"content": MENTION}, {}, ".m.rule.is_user_mention", True, True, "default"),
        ({"content": ROOM_MENTION}, {"sender_power_level": 50}, ".m.rule.is_room_mention", True, True, None),
        ({"content": ROOM_MENTION}, {"sender_power_level": 49}, ".m.rule.message", True, False, None),
        ({"type": "m.room.tombstone", "state_key": ""}, {}, ".m.rule.tombstone", True, True, None),
        ({"type": "m.reaction"}, {}, ".m.rule.reaction", False, False, None),
        ({"type": "m.room.server_acl", "state_key": ""}, {}, ".m.rule.room.server_acl", False, False, None),
        ({"content": EDIT}, {}, ".m.rule.suppress_edits", False, False, None),
        ({"type": "m.call.invite"}, {}, ".m.rule.call", True, False, "ring"),
        (
            {"type": "m.room.encrypted"},
            {"room_member_count": 2},
            ".m.rule.encrypted_room_one_to_one",
            True,
            False,
            "default",
        ),
        ({}, {"room_member_count": 2}, ".m.rule.room_one_to_one", True, False, "default"),
        ({}, {}, ".m.rule.message", True, False, None),
        ({"type": "m.room.encrypted"}, {}, ".m.rule.encrypted", True, False, None),
        ({"type": "m.room.topic", "state_key": "", "content": {"topic": "x"}}, {}, None, False, False, None),
    ],
)
def test_the_first_rule_that_matches_decides(event, context, rule_id, notify, highlight, sound):
    result = outcome(push_event(**event), **context)
    assert (result.rule_id, result.notify, result.highlight, result.sound) == (rule_id, notify, highlight, sound)


def test_an_edit_that_mentions_the_user_is_still_a_mention():
    assert outcome(push_event(content={**EDIT, "m.mentions": {"user_ids": [ALICE]}})).highlight


def test_a_name_in_the_body_is_no_mention():
    event = push_event(content={"msgtype": "m.text", "body": "Alice @alice:hospital.example alice @room"})
    assert not outcome(event, sender_power_level=100).highlight


def test_the_master_rule_goes_before_all_rules():
    rules = effective_rules(ALICE, with_enabled(UserRules(), RuleKind.OVERRIDE, ".m.rule.master", enabled=True))
    result = evaluate(rules, push_event(content=MENTION), push_context())
    assert (result.rule_id, result.notify) == (".m.rule.master", False)


@pytest.mark.parametrize(
    ("event", "named"),
    [
        ({}, set()),
        ({"content": MENTION}, {ALICE}),
        ({"content": {"m.mentions": {"user_ids": [ALICE, 1, None]}}}, {ALICE}),
        ({"content": {"m.mentions": {"user_ids": ALICE}}}, set()),
        ({"content": {"m.mentions": []}}, set()),
        ({**MEMBER, "state_key": ALICE}, {ALICE}),
        ({"type": "m.room.topic", "state_key": ""}, set()),
    ],
)
def test_users_whom_an_event_names(event, named):
    assert users_named_by(push_event(**event)) == named


@pytest.mark.parametrize(
    "event",
    [
        {},
        {"content": MENTION},
        {"content": ROOM_MENTION},
        {**MEMBER, "state_key": ALICE},
        {"type": "m.room.encrypted"},
        {"type": "m.reaction"},
    ],
)
@pytest.mark.parametrize("room_member_count", [2, 3])
def test_all_users_whom_an_event_does_not_name_have_the_same_outcome(event, room_member_count):
    context = push_context(room_member_count=room_member_count, sender_power_level=50)
    event = push_event(**event)
    others = evaluate(DEFAULT_RULES_OF_OTHERS, event, context)
    carol = evaluate(default_rules("@carol:hospital.example"), event, context)
    assert (others, "@carol:hospital.example" in users_named_by(event)) == (carol, False)
