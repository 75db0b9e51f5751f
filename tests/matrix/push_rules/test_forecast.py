"""What can be said of a room's events beforehand holds once they are there, whatever rules a user makes.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.matrix.push_rules.factories import ALICE, BOB, WARD, push_context, push_event
from tim_server.matrix.push_rules import (
    DEFAULT_FORECAST,
    DEFAULT_RULES_OF_OTHERS,
    Forecast,
    NotifyClass,
    NotifyLevel,
    RuleKind,
    Trigger,
    UserRules,
    costly_conditions,
    default_rules,
    effective_rules,
    evaluate,
    folded,
    forecast_of,
    is_certain_everywhere,
    level_of,
    notify_class_of,
    read_user_rule,
    users_named_by,
    with_actions,
    with_enabled,
    with_rule,
    words_in,
)

OTHER = "!other:hospital.example"
NONE, NOTIFY, HIGHLIGHT = NotifyLevel
LOUD: list[Any] = ["notify", {"set_tweak": "highlight"}]


def rules_with(*definitions: tuple[str, str, dict[str, Any]]) -> UserRules:
    """User rules made by PUTs in this order."""
    user_rules = UserRules()
    for kind, rule_id, body in definitions:
        user_rules = with_rule(user_rules, read_user_rule(RuleKind(kind), rule_id, {"actions": [], **body}))
    return user_rules


def forecast(user_rules: UserRules, room_id: str = WARD) -> Forecast:
    return forecast_of(effective_rules(ALICE, user_rules), room_id)


def test_who_has_changed_nothing_has_the_default_forecast():
    assert forecast(UserRules()) == forecast_of(default_rules(BOB), OTHER) == DEFAULT_FORECAST
    assert DEFAULT_FORECAST.is_certain
    assert DEFAULT_FORECAST.levels == (NONE, NONE, NONE, NOTIFY, NOTIFY, NOTIFY, NOTIFY, NOTIFY, HIGHLIGHT, HIGHLIGHT)


def test_a_rule_about_another_room_changes_nothing_here():
    about_other = {"conditions": [{"kind": "event_match", "key": "room_id", "pattern": OTHER}]}
    user_rules = rules_with(("room", OTHER, {}), ("override", OTHER, about_other))
    assert forecast(user_rules) == DEFAULT_FORECAST
    assert forecast(user_rules, OTHER) != DEFAULT_FORECAST


def test_a_muted_room_is_silent():
    muted = {"conditions": [{"kind": "event_match", "key": "room_id", "pattern": WARD}]}
    assert forecast(rules_with(("override", WARD, muted))) == Forecast(levels=(NONE,) * len(NotifyClass))


def test_mentions_only_leaves_what_is_for_everybody():
    expected = (NONE,) * 8 + (HIGHLIGHT, HIGHLIGHT)
    assert forecast(rules_with(("room", WARD, {}))) == Forecast(levels=expected)


def test_default_rules_that_were_switched_off_need_no_look_at_events():
    user_rules = with_actions(UserRules(), RuleKind.UNDERRIDE, ".m.rule.message", ())
    user_rules = with_enabled(user_rules, RuleKind.UNDERRIDE, ".m.rule.encrypted_room_one_to_one", enabled=False)
    user_rules = with_enabled(user_rules, RuleKind.UNDERRIDE, ".m.rule.encrypted", enabled=False)
    levels = dict(zip(NotifyClass, forecast(user_rules).levels, strict=True))
    assert forecast(user_rules).is_certain
    assert levels[NotifyClass.MESSAGE] == levels[NotifyClass.ENCRYPTED_ONE_TO_ONE] == levels[NotifyClass.ENCRYPTED] == 0
    assert levels[NotifyClass.MESSAGE_ONE_TO_ONE] is NOTIFY


def test_do_not_disturb_is_silent_everywhere():
    user_rules = with_enabled(UserRules(), RuleKind.OVERRIDE, ".m.rule.master", enabled=True)
    assert forecast(user_rules) == Forecast(levels=(NONE,) * len(NotifyClass))


@pytest.mark.parametrize(
    ("kind", "rule_id", "body", "trigger"),
    [
        ("content", "x", {"pattern": "Cake"}, Trigger(word="cake")),
        ("content", "x", {"pattern": "tea, Cakes & x"}, Trigger(word="cakes")),
        ("content", "x", {"pattern": "cake*"}, Trigger()),
        ("content", "x", {"pattern": "❤"}, Trigger()),
        ("sender", BOB, {}, Trigger(sender=BOB)),
        ("override", "x", {"conditions": [{"kind": "contains_display_name"}]}, Trigger()),
        (
            "override",
            "x",
            {
                "conditions": [
                    {"kind": "room_member_count", "is": ">2"},
                    {"kind": "event_match", "key": "content.body", "pattern": "cake"},
                ]
            },
            Trigger(word="cake"),
        ),
        (
            "underride",
            "x",
            {"conditions": [{"kind": "event_match", "key": "sender", "pattern": BOB}]},
            Trigger(sender=BOB),
        ),
    ],
)
def test_rules_that_need_a_look_say_by_what(kind: str, rule_id: str, body: dict[str, Any], trigger: Trigger):
    found = forecast(rules_with((kind, rule_id, {"actions": LOUD, **body})))
    assert found.levels == DEFAULT_FORECAST.levels
    assert found.triggers == {trigger}


def test_costly_are_conditions_that_must_be_tried_on_all_events():
    about_room = {"kind": "event_match", "key": "room_id", "pattern": WARD}
    assert costly_conditions(rules_with(("content", "x", {"pattern": "cake"}), ("room", WARD, {}))) == 0
    assert costly_conditions(rules_with(("override", "x", {"conditions": [about_room]}))) == 0
    assert costly_conditions(rules_with(("content", "x", {"pattern": "cake?"}))) == 1
    both = [about_room, {"kind": "contains_display_name"}]
    assert costly_conditions(rules_with(("override", "x", {"conditions": both}))) == 1


PATTERNS = st.sampled_from(["cake", "*", "tea cake", "Te?", "ſecret", "secret", "", "-", "a.b", "straße", "stra"])
BODIES = st.sampled_from(["a cake", "teacake", "Tea Cake!", "\u017fecret", "SECRET", "a.b", "-", "", "straße", "Tex"])
CONDITIONS = st.one_of(
    st.builds(lambda p: {"kind": "event_match", "key": "content.body", "pattern": p}, PATTERNS),
    st.builds(
        lambda key, value: {"kind": "event_match", "key": key, "pattern": value},
        st.sampled_from(["room_id", "sender", "type", "state_key", "content.msgtype"]),
        st.sampled_from([WARD, WARD.upper(), OTHER, BOB, "@*", "m.room.*", "m.room.topic", "", "m.notice"]),
    ),
    st.builds(
        lambda key, value: {"kind": "event_property_is", "key": key, "value": value},
        st.sampled_from(["room_id", "sender", "type"]),
        st.sampled_from([WARD, OTHER, BOB, "m.room.message", None]),
    ),
    st.sampled_from(
        [
            {"kind": "contains_display_name"},
            {"kind": "room_member_count", "is": "2"},
            {"kind": "sender_notification_permission", "key": "room"},
            {"kind": "org.example.unknown"},
        ]
    ),
)
ACTIONS = st.sampled_from([[], ["notify"], LOUD, ["notify", {"set_tweak": "highlight", "value": False}]])
OWN_RULES = st.lists(
    st.one_of(
        st.tuples(
            st.sampled_from(["override", "underride"]),
            st.sampled_from("ab"),
            st.fixed_dictionaries({"actions": ACTIONS, "conditions": st.lists(CONDITIONS, max_size=2)}),
        ),
        st.tuples(
            st.just("content"), st.sampled_from("abc"), st.fixed_dictionaries({"actions": ACTIONS, "pattern": PATTERNS})
        ),
        st.tuples(st.just("room"), st.sampled_from([WARD, OTHER]), st.fixed_dictionaries({"actions": ACTIONS})),
        st.tuples(st.just("sender"), st.sampled_from([BOB, "@x:y"]), st.fixed_dictionaries({"actions": ACTIONS})),
    ),
    max_size=4,
)
DEFAULTS = [(kind, rule.rule_id) for kind in RuleKind for rule in default_rules(ALICE).of_kind(kind)]
CHANGES = st.lists(st.tuples(st.sampled_from(DEFAULTS), st.booleans() | ACTIONS), max_size=3)
EVENTS = st.builds(
    lambda type, msgtype, body, extra, state_key: push_event(
        type=type, state_key=state_key, content={"msgtype": msgtype, "body": body, **extra}
    ),
    st.sampled_from(
        ["m.room.message", "m.room.encrypted", "m.room.topic", "m.room.tombstone", "m.reaction", "m.call.invite"]
    ),
    st.sampled_from(["m.text", "m.notice"]),
    BODIES,
    st.sampled_from([{}, {"m.mentions": {"room": True}}, {"m.relates_to": {"rel_type": "m.replace"}}]),
    st.sampled_from([None, None, ""]),
)


@given(own=OWN_RULES, changes=CHANGES, event=EVENTS, members=st.sampled_from([2, 3]), power=st.sampled_from([0, 50]))
def test_a_forecast_holds_unless_a_sign_speaks_against_it(own, changes, event, members, power):
    user_rules = rules_with(*own)
    for (kind, rule_id), change in changes:
        if isinstance(change, bool):
            user_rules = with_enabled(user_rules, kind, rule_id, enabled=change)
        else:
            user_rules = with_actions(user_rules, kind, rule_id, tuple(change))
    rules = effective_rules(ALICE, user_rules)
    said = forecast_of(rules, WARD)
    assert said.is_certain or not is_certain_everywhere(rules)
    context = push_context(room_member_count=members, sender_power_level=power, display_name="Tea")
    matched = evaluate(DEFAULT_RULES_OF_OTHERS, event, context).rule_id
    words = words_in(event["content"]["body"])
    signs = {Trigger(), Trigger(sender=folded(event["sender"])), *(Trigger(word=word) for word in words)}
    assert ALICE not in users_named_by(event)
    if signs.isdisjoint(said.triggers) and matched not in said.doubtful:
        level = level_of(evaluate(rules, event, context))
        assert level == said.levels[notify_class_of(event, matched)]
