"""Change a user's push rules: their own, and what they make of the server-default ones.

Spec: https://spec.matrix.org/v1.19/client-server-api/#push-rules-api
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import LimitExceeded, TooLarge
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.push_rules import (
    RuleKind,
    UserRules,
    costly_conditions,
    effective_rules,
    is_certain_everywhere,
    read_actions,
    read_user_rule,
    save_user_rules,
    with_actions,
    with_enabled,
    with_rule,
    with_rules_for_replacement,
    without_rule,
)
from tim_server.services.json_values import encode_json
from tim_server.services.push_rules.read import changed_rules
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.push_rules import PUSH_RULES, NewRules, put_push_rules, read_push_rules
from tim_server.storage.writer import Writer

ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRulePolicy:
    """How much a user may define. `costly_conditions_max` bounds those that must be tried on every event."""

    bytes_max: int = 131_072
    rules_max: int = 2_000
    costly_conditions_max: int = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Placing:
    """Where a rule is to stand among the user's own of its kind: next to one of these ids."""

    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRuleChange:
    """Changes rules. Each change is decided on the rules in place, and decided again where another came first."""

    database: Database
    writer: Writer
    codec: Codec
    policy: PushRulePolicy

    async def put(
        self, user_id: UserId, kind: RuleKind, rule_id: str, body: Mapping[str, Any], placing: Placing
    ) -> None:
        """Define a rule, or define one anew. Raises `InvalidParam`, `MissingParam` and `BadJson` for the rule,
        `Unknown` where the one to stand next to is missing, `TooLarge` where there are too many."""
        rule = read_user_rule(kind, rule_id, body)
        await self._change(user_id, lambda rules: with_rule(rules, rule, before=placing.before, after=placing.after))

    async def delete(self, user_id: UserId, kind: RuleKind, rule_id: str) -> None:
        """Remove one of the user's own rules; raises `NotFound`, also for server-default ones."""
        await self._change(user_id, lambda rules: without_rule(rules, kind, rule_id))

    async def set_enabled(self, user_id: UserId, kind: RuleKind, rule_id: str, *, enabled: bool) -> None:
        """Enable or disable any rule; raises `NotFound`."""
        await self._change(user_id, lambda rules: with_enabled(rules, kind, rule_id, enabled=enabled))

    async def set_actions(self, user_id: UserId, kind: RuleKind, rule_id: str, actions: object) -> None:
        """Replace the actions of any rule; raises `NotFound`, and `BadJson` for what are no actions."""
        read = read_actions(actions)
        await self._change(user_id, lambda rules: with_actions(rules, kind, rule_id, read))

    async def carry_over(self, user_id: UserId, old: RoomId, new: RoomId) -> None:
        """Let the rules of a room hold for the one that replaces it too; raises `TooLarge`."""
        await self._change(user_id, lambda rules: with_rules_for_replacement(rules, old, new))

    async def _change(self, user_id: UserId, change: Callable[[UserRules], UserRules]) -> None:
        for _ in range(ATTEMPTS):
            async with self.database.connection() as connection:
                stored = await read_push_rules(connection, self.codec, user_id)
            before = changed_rules(stored)
            rules = change(before)
            if rules is before:
                return
            encoded = self._encoded(rules)
            if stored is not None and encoded == stored.content:
                return
            after = 0 if stored is None else stored.position
            new = NewRules(
                user_id=user_id,
                stored=self.codec.encode(encoded),
                looks_at_events=not is_certain_everywhere(effective_rules(user_id, rules)),
                after=after,
            )
            if await self.writer.write(_Put(users=(user_id,), new=new)):
                return
        raise LimitExceeded("The push rules are being changed too often; try again", retry_after_ms=1000)

    def _encoded(self, rules: UserRules) -> bytes:
        """The rules as they are kept; raises `TooLarge`."""
        if sum(1 for _ in rules.defined.in_order()) > self.policy.rules_max:
            raise TooLarge(f"There must be at most {self.policy.rules_max} push rules")
        if costly_conditions(rules) > self.policy.costly_conditions_max:
            raise TooLarge(
                f"At most {self.policy.costly_conditions_max} conditions and wildcards may look at all events"
            )
        encoded = encode_json(save_user_rules(rules))
        if len(encoded) > self.policy.bytes_max:
            raise TooLarge(f"Push rules must have at most {self.policy.bytes_max} bytes together")
        return encoded


@dataclass(frozen=True, slots=True, kw_only=True)
class _Put:
    users: tuple[UserId, ...]
    new: NewRules
    streams: tuple[str, ...] = (PUSH_RULES,)

    async def store(self, tx: Connection, position: int) -> bool:
        """False where the rules have been changed since they were read."""
        return await put_push_rules(tx, self.new, position)
