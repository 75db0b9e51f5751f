"""Push rules of a room that another has replaced.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from tim_server.matrix.push_rules.rules import RuleKind, read_user_rule
from tim_server.matrix.push_rules.user_rules import UserRules, with_rule

_KINDS = (RuleKind.OVERRIDE, RuleKind.ROOM, RuleKind.UNDERRIDE)


def with_rules_for_replacement(user_rules: UserRules, old: str, new: str) -> UserRules:
    """The rules with those that are named after the room `old` also for `new`, unless there are such already; the same
    object where that changes nothing.

    Clients name the rules of a room after its id, also those of other kinds, such as the one that mutes it.
    """
    for kind in _KINDS:
        rule = user_rules.defined.find(kind, old)
        if rule is None or user_rules.defined.find(kind, new) is not None:
            continue
        body = rule.as_json()
        body["conditions"] = [
            {key: new if value == old else value for key, value in condition.items()}
            for condition in body.get("conditions", ())
        ]
        user_rules = with_rule(user_rules, read_user_rule(kind, new, body, enabled=rule.enabled))
    return user_rules
