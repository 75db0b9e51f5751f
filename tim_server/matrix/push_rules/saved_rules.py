"""The JSON form in which a user's own push rules, and their changes to server-default ones, are kept."""

from collections.abc import Mapping
from typing import Any

from tim_server.matrix.push_rules.actions import read_actions
from tim_server.matrix.push_rules.rules import RuleKind, RuleSet, read_user_rule
from tim_server.matrix.push_rules.user_rules import DefaultRuleChange, UserRules


def save_user_rules(user_rules: UserRules) -> dict[str, Any]:
    """A JSON object that holds all of them; kinds without rules are left out."""
    defined = {kind: rules for kind, rules in user_rules.defined.as_json().items() if rules}
    changes = [
        {
            "kind": kind.value,
            "rule_id": rule_id,
            "enabled": change.enabled,
            "actions": None if change.actions is None else list(change.actions),
        }
        for (kind, rule_id), change in user_rules.changes.items()
    ]
    return {"defined": defined, "changes": changes}


def read_saved_rules(saved: Mapping[str, Any]) -> UserRules:
    """The rules that `save_user_rules` was given."""
    defined = {
        kind: tuple(read_user_rule(RuleKind(kind), rule["rule_id"], rule, enabled=rule["enabled"]) for rule in rules)
        for kind, rules in saved["defined"].items()
    }
    changes = {
        (RuleKind(change["kind"]), change["rule_id"]): DefaultRuleChange(
            enabled=change["enabled"],
            actions=None if change["actions"] is None else read_actions(change["actions"]),
        )
        for change in saved["changes"]
    }
    return UserRules(defined=RuleSet(**defined), changes=changes)
