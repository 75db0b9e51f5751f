"""A user's own push rules, and their changes to the server-default ones.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from tim_server.matrix.errors import InvalidParam, NotFound, Unknown
from tim_server.matrix.push_rules.actions import Action
from tim_server.matrix.push_rules.defaults import MASTER_RULE_ID, default_rule_exists, default_rules
from tim_server.matrix.push_rules.rules import PushRule, RuleKind, RuleSet

_NO_RULES = RuleSet()


@dataclass(frozen=True, slots=True, kw_only=True)
class DefaultRuleChange:
    """What a user changed of a server-default rule; None: unchanged."""

    enabled: bool | None = None
    actions: tuple[Action, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class UserRules:
    """The rules that a user defined, and the changes to default rules by kind and rule id."""

    defined: RuleSet = _NO_RULES
    changes: Mapping[tuple[RuleKind, str], DefaultRuleChange] = field(default_factory=dict)


def effective_rules(user_id: str, user_rules: UserRules) -> RuleSet:
    """All rules of a user: server-default rules have a lower priority than user-defined ones of the same kind.

    Only `.m.rule.master` has always a higher priority than any other rule.
    """
    defaults = default_rules(user_id)
    merged = {}
    for kind in RuleKind:
        changed = [_changed(rule, user_rules.changes.get((kind, rule.rule_id))) for rule in defaults.of_kind(kind)]
        master = [rule for rule in changed if rule.rule_id == MASTER_RULE_ID]
        others = [rule for rule in changed if rule.rule_id != MASTER_RULE_ID]
        merged[kind.value] = (*master, *user_rules.defined.of_kind(kind), *others)
    return RuleSet(**merged)


def with_rule(
    user_rules: UserRules, rule: PushRule, *, before: str | None = None, after: str | None = None
) -> UserRules:
    """The rules with one more, or with the one of the same kind and id replaced, which stays enabled or disabled.

    `before` places it as the next-most important rule with respect to that one, `after` as the next-less important
    one; with both, `before` counts. With neither a new rule becomes the most important user-defined one of its kind,
    and an existing one keeps its place. Raises `Unknown` where that rule does not exist, `InvalidParam` where it is a
    server-default one.
    """
    existing = user_rules.defined.of_kind(rule.kind)
    position = next((index for index, other in enumerate(existing) if other.rule_id == rule.rule_id), None)
    if position is not None:
        rule = replace(rule, enabled=existing[position].enabled)
    others = [other for other in existing if other.rule_id != rule.rule_id]
    if before is not None:
        position = _position(others, before)
    elif after is not None:
        position = _position(others, after) + 1
    others.insert(position or 0, rule)
    return _with_defined(user_rules, rule.kind, others)


def without_rule(user_rules: UserRules, kind: RuleKind, rule_id: str) -> UserRules:
    """The rules without a user-defined one. Raises `NotFound`; server-default rules cannot be removed."""
    existing = user_rules.defined.of_kind(kind)
    remaining = [rule for rule in existing if rule.rule_id != rule_id]
    if len(remaining) == len(existing):
        raise NotFound("The push rule was not found")
    return _with_defined(user_rules, kind, remaining)


def with_enabled(user_rules: UserRules, kind: RuleKind, rule_id: str, *, enabled: bool) -> UserRules:
    """The rules with one, user-defined or server-default, enabled or disabled. Raises `NotFound`."""
    if default_rule_exists(kind, rule_id):
        change = user_rules.changes.get((kind, rule_id), DefaultRuleChange())
        return _with_change(user_rules, kind, rule_id, replace(change, enabled=enabled))
    return _with_replaced(user_rules, replace(_defined(user_rules, kind, rule_id), enabled=enabled))


def with_actions(user_rules: UserRules, kind: RuleKind, rule_id: str, actions: tuple[Action, ...]) -> UserRules:
    """The rules with the actions of one, user-defined or server-default, replaced. Raises `NotFound`."""
    if default_rule_exists(kind, rule_id):
        change = user_rules.changes.get((kind, rule_id), DefaultRuleChange())
        return _with_change(user_rules, kind, rule_id, replace(change, actions=actions))
    return _with_replaced(user_rules, replace(_defined(user_rules, kind, rule_id), actions=actions))


def _changed(rule: PushRule, change: DefaultRuleChange | None) -> PushRule:
    if change is None:
        return rule
    enabled = rule.enabled if change.enabled is None else change.enabled
    return replace(rule, enabled=enabled, actions=rule.actions if change.actions is None else change.actions)


def _position(rules: list[PushRule], rule_id: str) -> int:
    if rule_id.startswith("."):
        raise InvalidParam("A rule cannot be placed relative to a server-default rule")
    for index, rule in enumerate(rules):
        if rule.rule_id == rule_id:
            return index
    raise Unknown(f"before/after rule not found: {rule_id}")


def _defined(user_rules: UserRules, kind: RuleKind, rule_id: str) -> PushRule:
    rule = user_rules.defined.find(kind, rule_id)
    if rule is None:
        raise NotFound("The push rule was not found")
    return rule


def _with_replaced(user_rules: UserRules, rule: PushRule) -> UserRules:
    rules = [rule if other.rule_id == rule.rule_id else other for other in user_rules.defined.of_kind(rule.kind)]
    return _with_defined(user_rules, rule.kind, rules)


def _with_defined(user_rules: UserRules, kind: RuleKind, rules: list[PushRule]) -> UserRules:
    by_kind = {other.value: user_rules.defined.of_kind(other) for other in RuleKind} | {kind.value: tuple(rules)}
    return replace(user_rules, defined=RuleSet(**by_kind))


def _with_change(user_rules: UserRules, kind: RuleKind, rule_id: str, change: DefaultRuleChange) -> UserRules:
    return replace(user_rules, changes={**user_rules.changes, (kind, rule_id): change})
