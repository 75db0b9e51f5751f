"""Push rules, their kinds, and rule sets in order of priority.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tim_server.matrix.errors import BadJson, InvalidParam, MissingParam
from tim_server.matrix.globs import PATTERN_LENGTH_MAX
from tim_server.matrix.push_rules.actions import Action, read_actions
from tim_server.matrix.push_rules.conditions import (
    BODY,
    Condition,
    PushContext,
    Test,
    event_match,
    event_property_is,
    read_condition,
)

RULE_ID_LENGTH_MAX = PATTERN_LENGTH_MAX
"""Clients name content rules after their pattern."""


class RuleKind(StrEnum):
    """The kinds of rules, in the order in which they are checked."""

    OVERRIDE = "override"
    CONTENT = "content"
    ROOM = "room"
    SENDER = "sender"
    UNDERRIDE = "underride"


CONDITIONAL_KINDS = frozenset({RuleKind.OVERRIDE, RuleKind.UNDERRIDE})


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRule:
    """A push rule. `conditions` are of override and underride rules, `pattern` is of content rules."""

    kind: RuleKind
    rule_id: str
    default: bool
    enabled: bool
    actions: tuple[Action, ...]
    conditions: tuple[Condition, ...] = ()
    pattern: str | None = None
    predefined: Test | None = None  # the condition that the kind implies: of content, room and sender rules

    def matches(self, event: Mapping[str, Any], context: PushContext) -> bool:
        """Whether the rule is enabled and all its conditions hold; a rule without conditions always matches."""
        if not self.enabled:
            return False
        if self.predefined is not None:
            return self.predefined(event, context)
        return all(condition.holds(event, context) for condition in self.conditions)

    def as_json(self) -> dict[str, Any]:
        """The rule as clients see it."""
        body: dict[str, Any] = {
            "rule_id": self.rule_id,
            "default": self.default,
            "enabled": self.enabled,
            "actions": list(self.actions),
        }
        if self.kind in CONDITIONAL_KINDS:
            body["conditions"] = [condition.definition for condition in self.conditions]
        if self.pattern is not None:
            body["pattern"] = self.pattern
        return body


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleSet:
    """All rules of a user by kind, the most important of each kind first."""

    override: tuple[PushRule, ...] = ()
    content: tuple[PushRule, ...] = ()
    room: tuple[PushRule, ...] = ()
    sender: tuple[PushRule, ...] = ()
    underride: tuple[PushRule, ...] = ()

    def of_kind(self, kind: RuleKind) -> tuple[PushRule, ...]:
        """The rules of one kind."""
        rules: tuple[PushRule, ...] = getattr(self, kind.value)
        return rules

    def in_order(self) -> Iterator[PushRule]:
        """Every rule, in the order in which they are checked."""
        for kind in RuleKind:
            yield from self.of_kind(kind)

    def find(self, kind: RuleKind, rule_id: str) -> PushRule | None:
        """The rule of this kind and id, if there is one."""
        return next((rule for rule in self.of_kind(kind) if rule.rule_id == rule_id), None)

    def as_json(self) -> dict[str, list[dict[str, Any]]]:
        """The rule set as clients see it: the value of `global`."""
        return {kind.value: [rule.as_json() for rule in self.of_kind(kind)] for kind in RuleKind}


def read_user_rule(kind: RuleKind, rule_id: str, body: Mapping[str, Any], *, enabled: bool = True) -> PushRule:
    """A user-defined rule from the body of `PUT /pushrules/global/{kind}/{ruleId}`, or from the store.

    Raises `InvalidParam` for a rule id that users may not choose, `MissingParam` and `BadJson` for the body.
    """
    if rule_id.startswith(".") or "/" in rule_id or "\\" in rule_id or not rule_id:
        raise InvalidParam("a rule_id must not be empty, start with a dot, or hold a slash or backslash")
    if len(rule_id) > RULE_ID_LENGTH_MAX:
        raise InvalidParam(f"a rule_id has at most {RULE_ID_LENGTH_MAX} characters")
    if "actions" not in body:
        raise MissingParam("actions is missing")
    pattern = _read_pattern(body) if kind is RuleKind.CONTENT else None
    return PushRule(
        kind=kind,
        rule_id=rule_id,
        default=False,
        enabled=enabled,
        actions=read_actions(body["actions"]),
        conditions=_read_conditions(body) if kind in CONDITIONAL_KINDS else (),
        pattern=pattern,
        predefined=_predefined(kind, rule_id, pattern),
    )


def _read_pattern(body: Mapping[str, Any]) -> str:
    if "pattern" not in body:
        raise MissingParam("pattern is missing")
    return _checked_pattern(body["pattern"])


def _checked_pattern(pattern: object) -> str:
    if not isinstance(pattern, str):
        raise BadJson("pattern must be a string")
    if len(pattern) > PATTERN_LENGTH_MAX:
        raise InvalidParam(f"a pattern has at most {PATTERN_LENGTH_MAX} characters")
    return pattern


def _read_conditions(body: Mapping[str, Any]) -> tuple[Condition, ...]:
    conditions = body.get("conditions", [])
    if not isinstance(conditions, list):
        raise BadJson("conditions must be a list")
    for condition in conditions:
        if not isinstance(condition, Mapping) or not isinstance(condition.get("kind"), str):
            raise BadJson("a condition is an object with a kind")
        if "pattern" in condition:
            _checked_pattern(condition["pattern"])
    return tuple(read_condition(condition) for condition in conditions)


def _predefined(kind: RuleKind, rule_id: str, pattern: str | None) -> Test | None:
    """Content rules match their pattern in the body; the id of room and sender rules determines their behaviour."""
    if pattern is not None:
        return event_match(BODY, pattern)
    if kind is RuleKind.ROOM:
        return event_property_is(("room_id",), rule_id)
    if kind is RuleKind.SENDER:
        return event_property_is(("sender",), rule_id)
    return None
