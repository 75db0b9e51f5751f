"""The audience of a room: those of its local members for whose sake events must be looked at, found by the signs that
their rules ask for. A message's cost then depends on how many are concerned, not on how many members there are.
"""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.matrix.push_rules import Forecast, RuleSet, Trigger, folded, forecast_of, words_in
from tim_server.services.push_rules.known import KnownRules
from tim_server.services.push_rules.read import rules_of
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Database
from tim_server.storage.events import EventRow
from tim_server.storage.push_rules import MEMBERS_AT_ONCE, PUSH_RULES, StoredRules, read_push_rules_of_members

AUDIENCE_BYTES = 1_000
LISTENER_BYTES = 900
SIGN_BYTES = 300
"""About what an audience, each user in it, and each sign of each user take in memory."""
LISTENERS_MAX = 2_000
"""How many users of a room are looked at: for others of the same kind, notify classes have to do."""
USERS_PER_TURN = 5
MEMBER = "m.room.member"


JoinedAmong: TypeAlias = Callable[[Collection[UserId]], Awaitable[Collection[UserId]]]


@dataclass(slots=True, kw_only=True)
class Audience:
    """`forecasts` of those for whom events must be looked at; they may have left since. `stale` are users of whom it is
    to be asked anew."""

    room_id: str
    forecasts: dict[UserId, Forecast] = field(default_factory=dict)
    stale: set[UserId] = field(default_factory=set)
    size_bytes: int = AUDIENCE_BYTES
    weighed_bytes: int = 0
    _by_trigger: dict[Trigger, set[UserId]] = field(default_factory=dict)
    _by_rule: dict[str | None, set[UserId]] = field(default_factory=dict)

    def put(self, user_id: UserId, rules: RuleSet | None) -> None:
        """Have the user in the audience, if their rules ask for it."""
        self._remove(user_id)
        forecast = None if rules is None else forecast_of(rules, self.room_id)
        if forecast is None or forecast.is_certain or len(self.forecasts) >= LISTENERS_MAX:
            return
        self.forecasts[user_id] = forecast
        self.size_bytes += _size_bytes(forecast)
        for trigger in forecast.triggers:
            self._by_trigger.setdefault(trigger, set()).add(user_id)
        for rule_id in forecast.doubtful:
            self._by_rule.setdefault(rule_id, set()).add(user_id)

    def _remove(self, user_id: UserId) -> None:
        forecast = self.forecasts.pop(user_id, None)
        if forecast is None:
            return
        self.size_bytes -= _size_bytes(forecast)
        for trigger in forecast.triggers:
            self._by_trigger[trigger].discard(user_id)
        for rule_id in forecast.doubtful:
            self._by_rule[rule_id].discard(user_id)

    def listeners(self, sender: str, body: object, matched: str | None) -> set[UserId]:
        """The users for whom an event with this sender and body must be looked at; `matched` is the server-default rule
        that matched it."""
        if not self.forecasts:
            return set()
        found = self._by_rule.get(matched, set()) | self._by_trigger.get(Trigger(), set())
        found |= self._by_trigger.get(Trigger(sender=folded(sender)), set())
        if isinstance(body, str):
            for word in words_in(body):
                found |= self._by_trigger.get(Trigger(word=word), set())
        return found


def _size_bytes(forecast: Forecast) -> int:
    return LISTENER_BYTES + SIGN_BYTES * (len(forecast.triggers) + len(forecast.doubtful))


@dataclass(slots=True, kw_only=True)
class Audiences:
    """Remembered audiences, least recently used dropped first; `bytes_max` bounds what they take. Loaded when a room is
    first written to, and kept by the commit log's tail: who joins, and whose rules change, is asked for anew."""

    server_name: ServerName
    database: Database
    codec: Codec
    rules: KnownRules
    bytes_max: int = 8 * 2**20
    _audiences: OrderedDict[int, Audience] = field(default_factory=OrderedDict)
    _bytes: int = 0

    async def get(self, room_nid: int, room_id: str, joined: JoinedAmong) -> Audience:
        """The audience of a room; `joined` tells which of some users are joined to it. Only the room's queue asks, so
        that no two load it at once."""
        audience = self._audiences.get(room_nid)
        if audience is not None and not audience.stale:
            self._audiences.move_to_end(room_nid)
            return audience
        is_new = audience is None
        # It is there before it is read, so that what commits change meanwhile is noted.
        audience = audience or self._audiences.setdefault(room_nid, Audience(room_id=room_id))
        try:
            await (self._fill(room_nid, audience) if is_new else self._freshen(audience, joined))
        except BaseException:
            self._drop(room_nid)
            raise
        self._weigh(room_nid, audience)
        return audience

    async def _fill(self, room_nid: int, audience: Audience) -> None:
        after, is_over = "", False
        while not is_over:
            async with self.database.connection() as connection:
                stored = await read_push_rules_of_members(connection, self.codec, room_nid, after)
            await self._put(audience, stored)
            is_over = len(stored) < MEMBERS_AT_ONCE
            after = max(stored, default="")

    async def _put(self, audience: Audience, stored: Mapping[UserId, StoredRules]) -> None:
        async for user_id in in_turns(stored, per_turn=USERS_PER_TURN):
            audience.put(user_id, rules_of(user_id, stored[user_id]))

    async def _freshen(self, audience: Audience, joined: JoinedAmong) -> None:
        stale, audience.stale = audience.stale, set()
        rules = await self.rules.load(await joined(stale))
        for user_id in stale:
            audience.put(user_id, rules.get(user_id))

    def _weigh(self, room_nid: int, audience: Audience) -> None:
        if self._audiences.get(room_nid) is not audience:
            return  # a commit has dropped it meanwhile
        self._bytes += audience.size_bytes - audience.weighed_bytes
        audience.weighed_bytes = audience.size_bytes
        self._audiences.move_to_end(room_nid)
        while self._bytes > self.bytes_max and len(self._audiences) > 1:
            self._drop(next(iter(self._audiences)))

    def _drop(self, room_nid: int) -> None:
        audience = self._audiences.pop(room_nid, None)
        if audience is not None:
            self._bytes -= audience.weighed_bytes

    def follow(self, entry: CommitEntry) -> None:
        """Note who is to be asked for anew."""
        changed = {user_id for user_id, streams in entry.users.items() if PUSH_RULES in streams}
        if changed:
            for audience in self._audiences.values():
                audience.stale |= changed
        for room_nid, rows in entry.events.items():
            of_room = self._audiences.get(room_nid)
            if of_room is not None:
                of_room.stale |= {user for row in rows if (user := self._local_member(row)) is not None}
        for room_nid in entry.resets:
            self._drop(room_nid)

    def _local_member(self, row: EventRow) -> UserId | None:
        """The user of this server whom a member event is about."""
        if row.type != MEMBER or row.state_key is None:
            return None
        user_id = UserId(row.state_key)
        return user_id if user_id.server_name == self.server_name else None

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._audiences.clear()
        self._bytes = 0
