"""Rules that users changed come back as they were saved."""

import json

from tests.matrix.push_rules.factories import ALICE, BOB, WARD
from tim_server.matrix.push_rules import (
    RuleKind,
    UserRules,
    effective_rules,
    read_actions,
    read_saved_rules,
    read_user_rule,
    save_user_rules,
    with_actions,
    with_enabled,
    with_rule,
)


def test_no_rules():
    assert read_saved_rules(save_user_rules(UserRules())) == UserRules()


def test_rules_of_every_kind_and_changes_of_default_rules():
    user_rules = UserRules()
    for kind, rule_id, body in [
        ("override", "mine", {"conditions": [{"kind": "org.example.unknown", "is": [1]}], "actions": ["x", "notify"]}),
        ("content", "cake", {"pattern": "cäke*", "actions": [{"set_tweak": "sound", "value": {"deep": None}}]}),
        ("content", "lie", {"pattern": "lie", "actions": []}),
        ("room", WARD, {"actions": []}),
        ("sender", BOB, {"actions": ["notify"]}),
        ("underride", "mine", {"conditions": [], "actions": ["notify"]}),
    ]:
        user_rules = with_rule(user_rules, read_user_rule(RuleKind(kind), rule_id, body))
    user_rules = with_enabled(user_rules, RuleKind.CONTENT, "cake", enabled=False)
    user_rules = with_enabled(user_rules, RuleKind.UNDERRIDE, ".m.rule.message", enabled=False)
    user_rules = with_actions(user_rules, RuleKind.UNDERRIDE, ".m.rule.encrypted", read_actions([]))
    saved = json.loads(json.dumps(save_user_rules(user_rules)))
    read = read_saved_rules(saved)
    assert effective_rules(ALICE, read).as_json() == effective_rules(ALICE, user_rules).as_json()
    assert read.changes == user_rules.changes
    assert save_user_rules(read) == saved
