"""The push rules of users, remembered as long as they do not change: parsing them takes longer than reading them."""

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.push_rules import RuleSet
from tim_server.services.push_rules.read import rules_of
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection, Database
from tim_server.storage.push_rules import PUSH_RULES, read_push_rules_of_users

ENTRY_BYTES = 250
PARSED_FACTOR = 10
"""About what an entry takes, and how many times as much rules take once they are parsed."""
USERS_PER_TURN = 5


@dataclass(slots=True, kw_only=True)
class KnownRules:
    """Remembered rules, least recently used dropped first; `bytes_max` bounds what they take."""

    database: Database
    codec: Codec
    bytes_max: int = 8 * 2**20
    _rules: OrderedDict[UserId, tuple[RuleSet | None, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _changes: int = 0

    async def load(self, users: Collection[UserId], tx: "Connection | None" = None) -> dict[UserId, RuleSet | None]:
        """The rules of these users, None for who has changed none; one query for those that are not remembered, on
        `tx` where there is one."""
        found = {user_id: known for user_id in users if (known := self._rules.get(user_id)) is not None}
        for user_id in found:
            self._rules.move_to_end(user_id)
        rules = {user_id: known[0] for user_id, known in found.items()}
        missing = [user_id for user_id in users if user_id not in found]
        if missing:
            rules |= await self._load(missing, tx)
        return rules

    async def _load(self, missing: Collection[UserId], tx: "Connection | None") -> dict[UserId, RuleSet | None]:
        changes, rules = self._changes, dict[UserId, RuleSet | None]()
        if tx is not None:
            stored = await read_push_rules_of_users(tx, self.codec, missing)
        else:
            async with self.database.connection() as connection:
                stored = await read_push_rules_of_users(connection, self.codec, missing)
        async for user_id in in_turns(missing, per_turn=USERS_PER_TURN):
            of_user = stored.get(user_id)
            rules[user_id] = None if of_user is None else rules_of(user_id, of_user)
            if changes == self._changes:  # else they may have been read before a change that is known by now
                self._remember(user_id, rules[user_id], 0 if of_user is None else len(of_user.content))
        return rules

    def _remember(self, user_id: UserId, rules: RuleSet | None, length: int) -> None:
        self._drop(user_id)
        size_bytes = ENTRY_BYTES + PARSED_FACTOR * length
        self._rules[user_id] = (rules, size_bytes)
        self._bytes += size_bytes
        while self._bytes > self.bytes_max:
            self._bytes -= self._rules.popitem(last=False)[1][1]

    def _drop(self, user_id: UserId) -> None:
        known = self._rules.pop(user_id, None)
        if known is not None:
            self._bytes -= known[1]

    def follow(self, entry: CommitEntry) -> None:
        """Drop what a commit has changed."""
        for user_id, streams in entry.users.items():
            if PUSH_RULES in streams:
                self._changes += 1
                self._drop(user_id)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._changes += 1
        self._rules.clear()
        self._bytes = 0
