"""Read a user's push rules: those of the server, with what the user has changed.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

from dataclasses import dataclass

import orjson

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.push_rules import (
    PushRule,
    RuleKind,
    RuleSet,
    UserRules,
    default_rules,
    effective_rules,
    read_saved_rules,
)
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.push_rules import StoredRules, read_push_rules

PUSH_RULES_EVENT = "m.push_rules"
"""The type of the global account data by which clients get their push rules in a sync."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRules:
    """Reads rules."""

    database: Database
    codec: Codec

    async def read(self, user_id: UserId) -> RuleSet:
        """All rules of a user."""
        async with self.database.connection() as connection:
            return rules_of(user_id, await read_push_rules(connection, self.codec, user_id))

    async def read_one(self, user_id: UserId, kind: RuleKind, rule_id: str) -> PushRule:
        """One rule of a user; raises `NotFound`."""
        rule = (await self.read(user_id)).find(kind, rule_id)
        if rule is None:
            raise NotFound("There is no such push rule")
        return rule


def rules_of(user_id: UserId, stored: StoredRules | None) -> RuleSet:
    """All rules of a user; `stored` is what they have changed."""
    return default_rules(user_id) if stored is None else effective_rules(user_id, changed_rules(stored))


def changed_rules(stored: StoredRules | None) -> UserRules:
    """What a user has changed."""
    return UserRules() if stored is None else read_saved_rules(orjson.loads(stored.content))


async def load_push_rules_content(tx: Connection, codec: Codec, user_id: UserId) -> bytes:
    """The content of `m.push_rules`."""
    return push_rules_content(rules_of(user_id, await read_push_rules(tx, codec, user_id)))


def push_rules_content(rules: RuleSet) -> bytes:
    """The content of `m.push_rules`, which is also what `GET /pushrules/` answers.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-events
    """
    return orjson.dumps({"global": rules.as_json()})
