"""The server-default push rules, as data in the specification's order.

Spec: https://spec.matrix.org/v1.19/client-server-api/#predefined-rules
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from tim_server.matrix.push_rules.actions import Action
from tim_server.matrix.push_rules.conditions import read_condition
from tim_server.matrix.push_rules.rules import PushRule, RuleKind, RuleSet

# Stands for the user's Matrix ID in the rules that are about the user.
_USER = "[the user's Matrix ID]"

_Definition = Mapping[str, Any]
_HIGHLIGHT: Action = {"set_tweak": "highlight"}
_SOUND: Action = {"set_tweak": "sound", "value": "default"}
_RING: Action = {"set_tweak": "sound", "value": "ring"}


def _event_match(key: str, pattern: str) -> _Definition:
    return {"kind": "event_match", "key": key, "pattern": pattern}


def _rule(kind: RuleKind, rule_id: str, conditions: list[_Definition], *actions: Action) -> PushRule:
    return PushRule(
        kind=kind,
        rule_id=rule_id,
        default=True,
        enabled=rule_id != MASTER_RULE_ID,
        actions=actions,
        conditions=tuple(read_condition(condition) for condition in conditions),
    )


MASTER_RULE_ID = ".m.rule.master"

_ENCRYPTED = _event_match("type", "m.room.encrypted")
_MESSAGE = _event_match("type", "m.room.message")
_TWO_MEMBERS = {"kind": "room_member_count", "is": "2"}
_NO_STATE_KEY_PART = _event_match("state_key", "")

_TEMPLATE = RuleSet(
    override=(
        _rule(RuleKind.OVERRIDE, MASTER_RULE_ID, []),
        _rule(RuleKind.OVERRIDE, ".m.rule.suppress_notices", [_event_match("content.msgtype", "m.notice")]),
        _rule(
            RuleKind.OVERRIDE,
            ".m.rule.invite_for_me",
            [
                _event_match("type", "m.room.member"),
                _event_match("content.membership", "invite"),
                _event_match("state_key", _USER),
            ],
            "notify",
            _SOUND,
        ),
        _rule(RuleKind.OVERRIDE, ".m.rule.member_event", [_event_match("type", "m.room.member")]),
        _rule(
            RuleKind.OVERRIDE,
            ".m.rule.is_user_mention",
            [{"kind": "event_property_contains", "key": r"content.m\.mentions.user_ids", "value": _USER}],
            "notify",
            _SOUND,
            _HIGHLIGHT,
        ),
        _rule(
            RuleKind.OVERRIDE,
            ".m.rule.is_room_mention",
            [
                {"kind": "event_property_is", "key": r"content.m\.mentions.room", "value": True},
                {"kind": "sender_notification_permission", "key": "room"},
            ],
            "notify",
            _HIGHLIGHT,
        ),
        _rule(
            RuleKind.OVERRIDE,
            ".m.rule.tombstone",
            [_event_match("type", "m.room.tombstone"), _NO_STATE_KEY_PART],
            "notify",
            _HIGHLIGHT,
        ),
        _rule(RuleKind.OVERRIDE, ".m.rule.reaction", [_event_match("type", "m.reaction")]),
        _rule(
            RuleKind.OVERRIDE,
            ".m.rule.room.server_acl",
            [_event_match("type", "m.room.server_acl"), _NO_STATE_KEY_PART],
        ),
        _rule(
            RuleKind.OVERRIDE,
            ".m.rule.suppress_edits",
            [{"kind": "event_property_is", "key": r"content.m\.relates_to.rel_type", "value": "m.replace"}],
        ),
    ),
    underride=(
        _rule(RuleKind.UNDERRIDE, ".m.rule.call", [_event_match("type", "m.call.invite")], "notify", _RING),
        _rule(RuleKind.UNDERRIDE, ".m.rule.encrypted_room_one_to_one", [_TWO_MEMBERS, _ENCRYPTED], "notify", _SOUND),
        _rule(RuleKind.UNDERRIDE, ".m.rule.room_one_to_one", [_TWO_MEMBERS, _MESSAGE], "notify", _SOUND),
        _rule(RuleKind.UNDERRIDE, ".m.rule.message", [_MESSAGE], "notify"),
        _rule(RuleKind.UNDERRIDE, ".m.rule.encrypted", [_ENCRYPTED], "notify"),
    ),
)


def default_rules(user_id: str) -> RuleSet:
    """The server-default rules of a user, of which some name the user's Matrix ID."""
    return replace(_TEMPLATE, override=tuple(_about(rule, user_id) for rule in _TEMPLATE.override))


def default_rule_exists(kind: RuleKind, rule_id: str) -> bool:
    """Whether there is a server-default rule of this kind and id."""
    return _TEMPLATE.find(kind, rule_id) is not None


def users_named_by(event: Mapping[str, Any]) -> set[str]:
    """The users whom an event names in a way that the default rules look at: mentioned, or the target of a membership.

    For all others the outcome of the default rules is the same: `DEFAULT_RULES_OF_OTHERS`.
    """
    content = event.get("content")
    mentions = content.get("m.mentions") if isinstance(content, Mapping) else None
    user_ids = mentions.get("user_ids") if isinstance(mentions, Mapping) else None
    named: Iterable[object] = user_ids if isinstance(user_ids, list) else ()
    if event.get("type") == "m.room.member":
        named = [*named, event.get("state_key")]
    return {user_id for user_id in named if isinstance(user_id, str)}


def _is_about_the_user(rule: PushRule) -> bool:
    return any(_USER in condition.definition.values() for condition in rule.conditions)


def _about(rule: PushRule, user_id: str) -> PushRule:
    if not _is_about_the_user(rule):
        return rule
    definitions = (
        {key: user_id if value == _USER else value for key, value in condition.definition.items()}
        for condition in rule.conditions
    )
    return replace(rule, conditions=tuple(read_condition(definition) for definition in definitions))


# The default rules as they apply to every user whom an event does not name.
DEFAULT_RULES_OF_OTHERS = replace(
    _TEMPLATE, override=tuple(rule for rule in _TEMPLATE.override if not _is_about_the_user(rule))
)
