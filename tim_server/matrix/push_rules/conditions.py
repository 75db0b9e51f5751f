"""Conditions of push rules: what an event and its room must be like for a rule to match.

Spec: https://spec.matrix.org/v1.19/client-server-api/#conditions-1
"""

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Any

from tim_server.matrix.globs import Glob, whole_value_glob, words_glob, words_literal
from tim_server.matrix.property_paths import ABSENT, PropertyPath, parse_property_path, property_at

BODY: PropertyPath = ("content", "body")
NOTIFICATION_LEVEL_DEFAULT = 50
COMPILED_MAX = 2_048
_SAFE_INTEGER_MAX = 2**53 - 1

_MEMBER_COUNT = re.compile(r"(==|<=|>=|<|>)?([0-9]{1,15})", re.ASCII)
_COMPARISONS: dict[str | None, Callable[[int, int], bool]] = {
    None: operator.eq,
    "==": operator.eq,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PushContext:
    """What conditions ask for beside the event: the room as it is, and the user's display name in it."""

    room_member_count: int
    sender_power_level: float
    notification_levels: Mapping[str, float]  # `notifications` of the power levels event
    display_name: str | None = None


Test = Callable[[Mapping[str, Any], PushContext], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """A condition: as the client wrote it, and as a test of an event."""

    definition: Mapping[str, Any]
    holds: Test


def read_condition(definition: Mapping[str, Any]) -> Condition:
    """The condition of a definition. Unrecognised and incomplete ones never match any event."""
    read = _READERS.get(definition.get("kind", ""))
    test = None if read is None else read(definition)
    return Condition(definition=definition, holds=_never if test is None else test)


def event_match(path: PropertyPath, pattern: str) -> Test:
    """A glob match on a property of the event, which must match the entire value, whatever the case.

    As a special case `content.body` must instead hold a substring that starts and ends at word boundaries. A property
    that is absent or no string does not match, even if the pattern is `*`.
    """
    return partial(_property_matches, path, pattern)


def event_property_is(path: PropertyPath, value: object) -> Test:
    """An exact match of a property: strings, integers, booleans and null, without any cast."""
    return partial(_property_is, path, value)


def event_property_contains(path: PropertyPath, value: object) -> Test:
    """An exact match of a value in a property that is an array."""
    return partial(_property_contains, path, value)


def _never(_event: Mapping[str, Any], _context: PushContext) -> bool:
    return False


def _property_matches(path: PropertyPath, pattern: str, event: Mapping[str, Any], _context: PushContext) -> bool:
    value = property_at(event, path)
    return isinstance(value, str) and _compiled(pattern, in_words=path == BODY).matches(value)


@lru_cache(maxsize=COMPILED_MAX)
def _compiled(pattern: str, *, in_words: bool) -> Glob:
    """The pattern's glob, made when it is first needed: most rules of most users never look at most events."""
    return words_glob(pattern) if in_words else whole_value_glob(pattern)


def _property_is(path: PropertyPath, value: object, event: Mapping[str, Any], _context: PushContext) -> bool:
    return _is_same(property_at(event, path), value)


def _property_contains(path: PropertyPath, value: object, event: Mapping[str, Any], _context: PushContext) -> bool:
    found = property_at(event, path)
    return isinstance(found, list) and any(_is_same(item, value) for item in found)


def _contains_display_name(event: Mapping[str, Any], context: PushContext) -> bool:
    body = property_at(event, BODY)
    if not context.display_name or not isinstance(body, str):
        return False
    return words_literal(context.display_name).matches(body)


def _room_member_count(
    compare: Callable[[int, int], bool], count: int, _event: Mapping[str, Any], context: PushContext
) -> bool:
    return compare(context.room_member_count, count)


def _sender_notification_permission(key: str, _event: Mapping[str, Any], context: PushContext) -> bool:
    needed = context.notification_levels.get(key, NOTIFICATION_LEVEL_DEFAULT)
    return context.sender_power_level >= needed


def _read_event_match(definition: Mapping[str, Any]) -> Test | None:
    key, pattern = definition.get("key"), definition.get("pattern")
    if not isinstance(key, str) or not isinstance(pattern, str):
        return None
    return event_match(parse_property_path(key), pattern)


def _read_event_property_is(definition: Mapping[str, Any]) -> Test | None:
    key, value = definition.get("key"), definition.get("value", ABSENT)
    if not isinstance(key, str) or not _is_non_compound(value):
        return None
    return event_property_is(parse_property_path(key), value)


def _read_event_property_contains(definition: Mapping[str, Any]) -> Test | None:
    key, value = definition.get("key"), definition.get("value", ABSENT)
    if not isinstance(key, str) or not _is_non_compound(value):
        return None
    return event_property_contains(parse_property_path(key), value)


def _read_contains_display_name(_definition: Mapping[str, Any]) -> Test:
    return _contains_display_name


def _read_room_member_count(definition: Mapping[str, Any]) -> Test | None:
    comparison = definition.get("is")
    found = _MEMBER_COUNT.fullmatch(comparison) if isinstance(comparison, str) else None
    return None if found is None else partial(_room_member_count, _COMPARISONS[found[1]], int(found[2]))


def _read_sender_notification_permission(definition: Mapping[str, Any]) -> Test | None:
    key = definition.get("key")
    return partial(_sender_notification_permission, key) if isinstance(key, str) else None


_READERS: dict[object, Callable[[Mapping[str, Any]], Test | None]] = {
    "event_match": _read_event_match,
    "event_property_is": _read_event_property_is,
    "event_property_contains": _read_event_property_contains,
    "contains_display_name": _read_contains_display_name,
    "room_member_count": _read_room_member_count,
    "sender_notification_permission": _read_sender_notification_permission,
}


def _is_non_compound(value: object) -> bool:
    """Strings, integers in ±(2^53−1), booleans and null, as canonical JSON has them."""
    if isinstance(value, int) and not isinstance(value, bool):
        return -_SAFE_INTEGER_MAX <= value <= _SAFE_INTEGER_MAX
    return value is None or isinstance(value, str | bool)


def _is_same(found: object, value: object) -> bool:
    """Equal, and of the same JSON type: `true` is not 1."""
    return isinstance(found, bool) is isinstance(value, bool) and found == value and _is_non_compound(found)
