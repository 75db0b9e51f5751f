"""Read a user's push rules: those of the server, as nobody can change theirs yet.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

import orjson

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.push_rules import PushRule, RuleKind, RuleSet, default_rules

PUSH_RULES = "m.push_rules"
"""The type of the global account data by which clients get their push rules in a sync."""


def read_push_rules(user_id: UserId) -> RuleSet:
    """All rules of a user."""
    return default_rules(user_id)


def read_push_rule(user_id: UserId, kind: RuleKind, rule_id: str) -> PushRule:
    """One rule of a user; raises `NotFound`."""
    rule = read_push_rules(user_id).find(kind, rule_id)
    if rule is None:
        raise NotFound("There is no such push rule")
    return rule


def push_rules_content(user_id: UserId) -> bytes:
    """The content of `m.push_rules`, which is also what `GET /pushrules/` answers.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-events
    """
    return orjson.dumps({"global": read_push_rules(user_id).as_json()})
