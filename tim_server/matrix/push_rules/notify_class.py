"""Notify classes: what an event means for everybody whose rules are the server's and whom it does not name.

A class stands for the server-default rule that matched, so that what users made of that rule can be told later, without
looking at the event again: who has switched off the rule for messages needs no note at any message.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Mapping
from enum import IntEnum
from typing import Any

from tim_server.matrix.push_rules.actions import Outcome


class NotifyLevel(IntEnum):
    """How much a user is told of an event."""

    NONE = 0
    NOTIFY = 1
    HIGHLIGHT = 2


class NotifyClass(IntEnum):
    """Classes as they are stored. The first three notify nobody by default.

    NOTHING: a state event. STATE: a state event of which somebody is told after all. QUIET: any other event, such as a
    reaction or an edit; who sends one has read the room up to there.
    """

    NOTHING = 0
    STATE = 1
    QUIET = 2
    MESSAGE = 3
    ENCRYPTED = 4
    MESSAGE_ONE_TO_ONE = 5
    ENCRYPTED_ONE_TO_ONE = 6
    CALL = 7
    ROOM_MENTION = 8
    TOMBSTONE = 9


RULE_OF_CLASS: Mapping[NotifyClass, str] = {
    NotifyClass.MESSAGE: ".m.rule.message",
    NotifyClass.ENCRYPTED: ".m.rule.encrypted",
    NotifyClass.MESSAGE_ONE_TO_ONE: ".m.rule.room_one_to_one",
    NotifyClass.ENCRYPTED_ONE_TO_ONE: ".m.rule.encrypted_room_one_to_one",
    NotifyClass.CALL: ".m.rule.call",
    NotifyClass.ROOM_MENTION: ".m.rule.is_room_mention",
    NotifyClass.TOMBSTONE: ".m.rule.tombstone",
}
"""The server-default rule that each class that notifies stands for."""

CLASS_OF_RULE = {rule_id: notify_class for notify_class, rule_id in RULE_OF_CLASS.items()}


def notify_class_of(event: Mapping[str, Any], rule_id: str | None) -> NotifyClass:
    """The class of an event that this server-default rule matched, or none."""
    if rule_id in CLASS_OF_RULE:
        return CLASS_OF_RULE[rule_id]
    return NotifyClass.NOTHING if "state_key" in event else NotifyClass.QUIET


def level_of(outcome: Outcome) -> NotifyLevel:
    """How much an outcome tells a user."""
    if not outcome.notify:
        return NotifyLevel.NONE
    return NotifyLevel.HIGHLIGHT if outcome.highlight else NotifyLevel.NOTIFY
