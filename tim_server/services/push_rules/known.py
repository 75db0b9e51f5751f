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
    """Remembered rules, least recently used dropped first; `bytes_max` bounds what they take. `_changed_at`: when
    anybody's rules were last changed."""

    database: Database
    codec: Codec
    bytes_max: int = 8 * 2**20
    _rules: OrderedDict[UserId, tuple[RuleSet | None, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0
    _changed_at: int = 0

    async def load(self, users: Collection[UserId]) -> dict[UserId, RuleSet | None]:
        """The rules of these users, None for who has changed none; one query for those that are not remembered."""
        rules, missing = self._split(users)
        if missing:
            changed_at = self._changed_at  # what has changed until now is read
            async with self.database.connection() as connection:
                rules |= await self._load(connection, missing, changed_at)
        return rules

    async def load_within(self, tx: Connection, users: Collection[UserId], up_to: int) -> dict[UserId, RuleSet | None]:
        """As `load`, on a transaction that sees what was committed up to a position, and perhaps nothing after it."""
        rules, missing = self._split(users)
        return rules | await self._load(tx, missing, up_to) if missing else rules

    def _split(self, users: Collection[UserId]) -> tuple[dict[UserId, RuleSet | None], list[UserId]]:
        """The remembered rules, and whose are not remembered."""
        rules: dict[UserId, RuleSet | None] = {}
        for user_id in users:
            known = self._rules.get(user_id)
            if known is not None:
                self._rules.move_to_end(user_id)
                rules[user_id] = known[0]
        return rules, [user_id for user_id in users if user_id not in rules]

    async def _load(self, tx: Connection, missing: Collection[UserId], up_to: int) -> dict[UserId, RuleSet | None]:
        rules: dict[UserId, RuleSet | None] = {}
        stored = await read_push_rules_of_users(tx, self.codec, missing)
        async for user_id in in_turns(missing, per_turn=USERS_PER_TURN):
            of_user = stored.get(user_id)
            rules[user_id] = None if of_user is None else rules_of(user_id, of_user)
            if up_to >= self._changed_at:  # else these may be the rules before a change that was dropped already
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
                self._changed_at = entry.position
                self._drop(user_id)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._rules.clear()
        self._bytes = 0
