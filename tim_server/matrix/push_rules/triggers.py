"""What must be in an event for a rule that a user defined to match it: what rules are found by, so that a message need
not be tried against the rules of everybody in the room.

A trigger may be wide, never narrow: where the rule matches, the trigger holds.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.property_paths import parse_property_path
from tim_server.matrix.push_rules.conditions import BODY, Condition, PushContext
from tim_server.matrix.push_rules.rules import PushRule, RuleKind
from tim_server.matrix.push_rules.user_rules import UserRules

ROOM_ID = ("room_id",)
SENDER = ("sender",)
_WILDCARDS = re.compile(r"[*?]")
# With IGNORECASE, four other letters are matched by what the word boundary of push rules means by letters.
_WORD = re.compile(r"[a-z0-9_]+", re.IGNORECASE)
_AS_LETTERS = str.maketrans({"ſ": "s", "\u212a": "k", "ı": "i", "İ": "i"})
_NOBODY = PushContext(room_member_count=0, sender_power_level=0, notification_levels={})


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """A word of the body, or a sender, both folded; neither: any event."""

    word: str | None = None
    sender: str | None = None


ANY_EVENT = Trigger()


def words_in(text: str) -> set[str]:
    """The words of a text as the word boundaries of push rules make them, folded for comparison."""
    return {folded(word) for word in _WORD.findall(text)}


def folded(text: str) -> str:
    """The text for comparison whatever the case."""
    return text.translate(_AS_LETTERS).lower()


def is_for_room(rule: PushRule, room_id: str) -> bool:
    """Whether the rule can match events of the room, as far as its id and its conditions name rooms."""
    if rule.kind is RuleKind.ROOM:
        return rule.rule_id == room_id
    event = {"room_id": room_id}
    return all(condition.holds(event, _NOBODY) for condition in rule.conditions if _path_of(condition) == ROOM_ID)


def trigger_of(rule: PushRule) -> Trigger | None:
    """What an event of a room that the rule is for must have; None where the rule matches every one."""
    if rule.kind is RuleKind.ROOM:
        return None
    if rule.kind is RuleKind.SENDER:
        return Trigger(sender=folded(rule.rule_id))
    if rule.pattern is not None:
        return _word_trigger(rule.pattern)
    conditions = [condition for condition in rule.conditions if _path_of(condition) != ROOM_ID]
    triggers = [_trigger_of_condition(condition) for condition in conditions]
    return next((trigger for trigger in triggers if trigger != ANY_EVENT), ANY_EVENT if triggers else None)


def costly_conditions(user_rules: UserRules) -> int:
    """How many conditions and patterns of a user must be tried, however little an event has to do with them."""
    return sum(_cost_of(rule) for rule in user_rules.defined.in_order())


def _cost_of(rule: PushRule) -> int:
    if rule.pattern is not None:
        return int(_word_trigger(rule.pattern) == ANY_EVENT)
    return sum(_path_of(condition) != ROOM_ID for condition in rule.conditions)


def _path_of(condition: Condition) -> tuple[str, ...] | None:
    """The property of the event that a condition is about, if it is about one."""
    definition: Mapping[str, Any] = condition.definition
    key = definition.get("key")
    is_about_property = definition.get("kind") in ("event_match", "event_property_is")
    return parse_property_path(key) if is_about_property and isinstance(key, str) else None


def _trigger_of_condition(condition: Condition) -> Trigger:
    path = _path_of(condition)
    sought = condition.definition.get("pattern", condition.definition.get("value"))
    if not isinstance(sought, str) or condition.definition.get("kind") != "event_match":
        return ANY_EVENT
    if path == BODY:
        return _word_trigger(sought)
    if path == SENDER and sought.isascii() and not _WILDCARDS.search(sought):
        return Trigger(sender=folded(sought))
    return ANY_EVENT


def _word_trigger(pattern: str) -> Trigger:
    """The longest word of a pattern without wildcards, which matches between word boundaries only."""
    words = [] if _WILDCARDS.search(pattern) else _WORD.findall(pattern)
    return Trigger(word=folded(max(words, key=len))) if words else ANY_EVENT
