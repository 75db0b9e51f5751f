"""User-defined rules: their order, their changes, and how they merge with the server-default ones.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

import pytest

from tests.matrix.push_rules.factories import ALICE, BOB, WARD, push_context, push_event
from tim_server.matrix.errors import BadJson, InvalidParam, MissingParam, NotFound, Unknown
from tim_server.matrix.push_rules import (
    RuleKind,
    UserRules,
    effective_rules,
    evaluate,
    read_actions,
    read_user_rule,
    with_actions,
    with_enabled,
    with_rule,
    without_rule,
)

NOTIFY = {"actions": ["notify"]}
SILENT = {"actions": []}
CAKE = {"actions": ["notify", {"set_tweak": "sound", "value": "cakealarm.wav"}], "pattern": "cake"}


def rules_of(*definitions, start: UserRules | None = None) -> UserRules:
    """User rules made by PUTs in this order: (kind, rule_id, body)."""
    user_rules = start or UserRules()
    for kind, rule_id, body in definitions:
        user_rules = with_rule(user_rules, read_user_rule(RuleKind(kind), rule_id, body))
    return user_rules


def ids(user_rules: UserRules, kind: str = "content") -> list[str]:
    return [rule.rule_id for rule in user_rules.defined.of_kind(RuleKind(kind))]


def content_rule(rule_id: str, pattern: str = "cake"):
    return read_user_rule(RuleKind.CONTENT, rule_id, {"actions": ["notify"], "pattern": pattern})


def outcome(user_rules: UserRules, event, **context):
    return evaluate(effective_rules(ALICE, user_rules), event, push_context(**context))


def test_a_room_rule_without_actions_silences_the_room():
    user_rules = rules_of(("room", WARD, SILENT))
    assert not outcome(user_rules, push_event()).notify
    assert outcome(user_rules, push_event(room_id="!other:hospital.example")).notify


def test_a_sender_rule_is_about_the_sender():
    user_rules = rules_of(("sender", BOB, SILENT))
    assert not outcome(user_rules, push_event()).notify
    assert outcome(user_rules, push_event(sender="@carol:hospital.example")).notify


def test_a_content_rule_matches_words_of_the_body():
    user_rules = rules_of(("content", "SSByZWFsbHkgbGlrZSBjYWtl", CAKE))
    assert outcome(user_rules, push_event(content={"body": "Cake?"})).sound == "cakealarm.wav"
    assert outcome(user_rules, push_event(content={"body": "cupcakes"})).sound is None


def test_an_override_rule_with_two_conditions():
    body = {
        "conditions": [
            {"kind": "event_match", "key": "content.body", "pattern": "beer"},
            {"kind": "room_member_count", "is": "<=10"},
        ],
        "actions": ["notify", {"set_tweak": "sound", "value": "beeroclock.wav"}],
    }
    user_rules = rules_of(("override", "U2VlIHlvdSBpbiBUaGUgRHVrZQ", body))
    beer = push_event(content={"body": "beer"})
    assert outcome(user_rules, beer, room_member_count=10).sound == "beeroclock.wav"
    assert outcome(user_rules, beer, room_member_count=11).sound is None


def test_kinds_are_checked_in_their_order():
    definitions = [
        ("underride", "u", NOTIFY),
        ("sender", BOB, NOTIFY),
        ("room", WARD, NOTIFY),
        ("content", "c", {"actions": [], "pattern": "hello"}),
        ("override", "o", NOTIFY),
    ]
    found = [outcome(rules_of(*definitions[:count]), push_event()).rule_id for count in range(1, 6)]
    assert found == ["u", BOB, WARD, "c", "o"]


def test_user_defined_rules_go_before_the_default_ones_of_their_kind_but_after_the_master_rule():
    rules = effective_rules(ALICE, rules_of(("override", "mine", NOTIFY), ("underride", "last", NOTIFY)))
    assert [rule.rule_id for rule in rules.override][:3] == [".m.rule.master", "mine", ".m.rule.suppress_notices"]
    assert [rule.rule_id for rule in rules.underride][:2] == ["last", ".m.rule.call"]


def test_a_disabled_rule_never_matches():
    user_rules = with_enabled(rules_of(("room", WARD, SILENT)), RuleKind.ROOM, WARD, enabled=False)
    assert outcome(user_rules, push_event()).notify


def test_a_default_rule_can_be_disabled_and_enabled_again():
    mention = push_event(content={"body": "x", "m.mentions": {"user_ids": [ALICE]}})
    rule = (RuleKind.OVERRIDE, ".m.rule.is_user_mention")
    disabled = with_enabled(UserRules(), *rule, enabled=False)
    assert not outcome(disabled, mention).highlight
    assert outcome(with_enabled(disabled, *rule, enabled=True), mention).highlight


def test_the_actions_of_a_default_rule_can_be_changed_and_stay_when_it_is_disabled_and_enabled():
    rule = (RuleKind.UNDERRIDE, ".m.rule.message")
    changed = with_actions(UserRules(), *rule, read_actions(["notify", {"set_tweak": "sound", "value": "bell"}]))
    assert outcome(changed, push_event()).sound == "bell"
    again = with_enabled(with_enabled(changed, *rule, enabled=False), *rule, enabled=True)
    assert outcome(again, push_event()).sound == "bell"


def test_a_new_rule_is_the_most_important_one():
    user_rules = with_rule(with_rule(UserRules(), content_rule("old")), content_rule("new"))
    assert ids(user_rules) == ["new", "old"]


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({"before": "b"}, ["a", "x", "b", "c"]),
        ({"after": "b"}, ["a", "b", "x", "c"]),
        ({"before": "c", "after": "a"}, ["a", "b", "x", "c"]),
        ({"after": "c"}, ["a", "b", "c", "x"]),
        ({}, ["x", "a", "b", "c"]),
    ],
)
def test_a_rule_is_placed_relative_to_another(place, expected):
    start = rules_of(*(("content", rule_id, CAKE) for rule_id in "cba"))
    assert ids(with_rule(start, content_rule("x"), **place)) == expected


@pytest.mark.parametrize(
    ("place", "expected"),
    [
        ({}, ["a", "b", "c"]),
        ({"before": "a"}, ["b", "a", "c"]),
        ({"after": "c"}, ["a", "c", "b"]),
        ({"before": "c"}, ["a", "b", "c"]),
    ],
)
def test_an_existing_rule_is_updated_and_moves_only_when_asked(place, expected):
    start = rules_of(*(("content", rule_id, CAKE) for rule_id in "cba"))
    updated = with_rule(start, content_rule("b", "pie"), **place)
    assert ids(updated) == expected
    assert updated.defined.find(RuleKind.CONTENT, "b").pattern == "pie"


def test_an_updated_rule_stays_disabled():
    disabled = with_enabled(rules_of(("content", "a", CAKE)), RuleKind.CONTENT, "a", enabled=False)
    assert not with_rule(disabled, content_rule("a")).defined.find(RuleKind.CONTENT, "a").enabled


@pytest.mark.parametrize("place", [{"before": "missing"}, {"after": "missing"}, {"before": "x"}])
def test_a_place_relative_to_a_missing_rule_is_an_error(place):
    with pytest.raises(Unknown, match="before/after rule not found"):
        with_rule(rules_of(("content", "a", CAKE), ("room", "missing", NOTIFY)), content_rule("x"), **place)


def test_a_place_relative_to_a_default_rule_is_an_error():
    rule = read_user_rule(RuleKind.OVERRIDE, "x", NOTIFY)
    with pytest.raises(InvalidParam):
        with_rule(UserRules(), rule, after=".m.rule.suppress_notices")


def test_the_same_id_may_be_used_in_two_kinds():
    user_rules = rules_of(("content", "a", CAKE), ("override", "a", NOTIFY))
    assert ids(without_rule(user_rules, RuleKind.CONTENT, "a"), "override") == ["a"]


@pytest.mark.parametrize(("kind", "rule_id"), [("content", "missing"), ("override", ".m.rule.master")])
def test_only_user_defined_rules_can_be_removed(kind, rule_id):
    with pytest.raises(NotFound):
        without_rule(rules_of(("content", "a", CAKE)), RuleKind(kind), rule_id)


@pytest.mark.parametrize("kind", ["content", "underride"])
def test_a_rule_that_does_not_exist_cannot_be_changed(kind):
    with pytest.raises(NotFound):
        with_enabled(UserRules(), RuleKind(kind), ".m.rule.master", enabled=True)
    with pytest.raises(NotFound):
        with_actions(UserRules(), RuleKind(kind), "missing", ())


@pytest.mark.parametrize("rule_id", [".mine", ".m.rule.master", "a/b", "a\\b", ""])
def test_rule_ids_that_are_reserved_or_hold_slashes_are_rejected(rule_id):
    with pytest.raises(InvalidParam):
        read_user_rule(RuleKind.OVERRIDE, rule_id, NOTIFY)


@pytest.mark.parametrize(
    ("kind", "body", "error"),
    [
        ("override", {}, MissingParam),
        ("content", NOTIFY, MissingParam),
        ("content", {**NOTIFY, "pattern": 1}, BadJson),
        ("content", {**NOTIFY, "pattern": "x" * 513}, InvalidParam),
        ("override", {"actions": "notify"}, BadJson),
        ("override", {"actions": [1]}, BadJson),
        ("override", {"actions": [{"value": "x"}]}, BadJson),
        ("override", {**NOTIFY, "conditions": {}}, BadJson),
        ("override", {**NOTIFY, "conditions": ["event_match"]}, BadJson),
        ("override", {**NOTIFY, "conditions": [{"key": "type"}]}, BadJson),
        ("override", {**NOTIFY, "conditions": [{"kind": "event_match", "pattern": "x" * 513}]}, InvalidParam),
    ],
)
def test_a_rule_with_a_wrong_body_is_rejected(kind, body, error):
    with pytest.raises(error):
        read_user_rule(RuleKind(kind), "x", body)


@pytest.mark.parametrize("historical", ["dont_notify", "coalesce"])
def test_historical_actions_are_stripped(historical):
    rule = read_user_rule(RuleKind.ROOM, WARD, {"actions": [historical]})
    assert rule.as_json()["actions"] == []
    assert not outcome(with_rule(UserRules(), rule), push_event()).notify


def test_unknown_conditions_and_actions_come_back_as_they_were_sent():
    body = {"actions": ["org.example.flash"], "conditions": [{"kind": "org.example.moon", "phase": "full"}]}
    rule = read_user_rule(RuleKind.OVERRIDE, "moon", body)
    assert rule.as_json() == {"rule_id": "moon", "default": False, "enabled": True, **body}
    assert outcome(with_rule(UserRules(), rule), push_event()).rule_id == ".m.rule.message"


def test_tweaks():
    actions = read_actions(["notify", {"set_tweak": "highlight"}, {"set_tweak": "light", "value": "red"}])
    user_rules = with_actions(UserRules(), RuleKind.UNDERRIDE, ".m.rule.message", actions)
    assert outcome(user_rules, push_event()).tweaks == {"highlight": True, "light": "red"}
    off = read_actions(["notify", {"set_tweak": "highlight", "value": False}])
    assert not outcome(with_actions(user_rules, RuleKind.UNDERRIDE, ".m.rule.message", off), push_event()).highlight
