"""Evaluation of an event by push rules: the first rule that matches decides.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Mapping
from typing import Any

from tim_server.matrix.events.record import Event
from tim_server.matrix.push_rules.actions import NOTHING, Outcome, outcome_of
from tim_server.matrix.push_rules.conditions import PushContext
from tim_server.matrix.push_rules.rules import RuleSet


def evaluate(rules: RuleSet, event: Mapping[str, Any], context: PushContext) -> Outcome:
    """What an event (`pushed_event`) means for a user with these rules.

    Kinds are checked in their order, rules in theirs; only the first that matches counts. If none does, nothing is
    notified. The caller leaves out the sender: nobody is notified of their own events.
    """
    for rule in rules.in_order():
        if rule.matches(event, context):
            return outcome_of(rule.actions, rule.rule_id)
    return NOTHING


def pushed_event(event: Event) -> dict[str, Any]:
    """The event as push rules see it: the properties that clients get, room id and event id included."""
    properties: dict[str, Any] = {
        "type": event.type,
        "sender": event.sender,
        "room_id": event.room_id,
        "event_id": event.event_id,
        "origin_server_ts": event.origin_server_ts,
        "content": event.content,
    }
    if event.state_key is not None:
        properties["state_key"] = event.state_key
    if event.redacts is not None:
        properties["redacts"] = event.redacts
    return properties


def notification_levels(power_levels_content: Mapping[str, Any] | None) -> dict[str, float]:
    """`notifications` of a power levels event's content; strings hold integers in room versions 1–9."""
    levels = (power_levels_content or {}).get("notifications")
    if not isinstance(levels, Mapping):
        return {}
    return {key: level for key, value in levels.items() if (level := _level(value)) is not None}


def _level(value: object) -> float | None:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    try:
        return int(value) if isinstance(value, str) else None
    except ValueError:
        return None
