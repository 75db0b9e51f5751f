"""Say that one is typing, for a time; the process that was told ends it when the time is over.

A repeat that only prolongs what goes on is written without a commit, and wakes nobody. What a process that died had to
end is found by the others, a moment later.

Spec: https://spec.matrix.org/v1.19/client-server-api/#typing-notifications
"""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.errors import Forbidden, InvalidParam
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.member_content import MEMBER, membership_in
from tim_server.services.rooms.permission import check_may_act
from tim_server.storage.commit_log import CommitEntry, Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.typing import (
    TYPING,
    TypingKey,
    begin_typing,
    end_typing,
    find_expired,
    find_typing,
    is_anybody_typing,
    prolong_typing,
)
from tim_server.storage.writer import Writer

TIMEOUT_MS = 30_000
"""How long one types who does not say."""
TIMEOUT_MS_MIN = 500
TOLD_TIMEOUT_MS = 60_000
"""How long users of another server type of whom it says nothing more; servers are known to repeat it after 40 s."""
SWEEP_GRACE_MS = 2_000
"""How long after its time the end is left to the process that was told of the beginning."""
SWEPT_MAX = 1_000
TIMER_SLACK_MS = 10

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class Typing:
    """Begins, prolongs and ends what users say of their typing; `timeout_ms_max` bounds for how long they may."""

    database: Database
    writer: Writer
    now_ms: Callable[[], int]
    timeout_ms_max: int = 120_000
    _timers: dict[TypingKey, asyncio.TimerHandle] = field(default_factory=dict)
    _ends: "set[asyncio.Task[None]]" = field(default_factory=set)
    _may_be_left: bool = True

    async def begin(self, requester: Requester, user_id: UserId, room_id: RoomId, timeout_ms: int | None) -> None:
        """The requester types for so long, within the bounds. Raises `Forbidden` for another user, and for who is not
        joined; `UserSuspended`; `InvalidParam` for a time that is none."""
        _check_is_self(requester, user_id)
        check_may_act(requester)
        if timeout_ms is not None and timeout_ms <= 0:
            raise InvalidParam("timeout must be positive")
        lasts_ms = min(max(TIMEOUT_MS if timeout_ms is None else timeout_ms, TIMEOUT_MS_MIN), self.timeout_ms_max)
        now_ms = self.now_ms()
        async with self.database.transaction() as tx:
            key = await _key_of_member(tx, room_id, user_id)
            going = await prolong_typing(tx, (key,), expires_ts=now_ms + lasts_ms, now_ms=now_ms)
        if key not in going:
            await self.writer.write(_Begin(keys=(key,), expires_ts=now_ms + lasts_ms))
        self._end_after(key, lasts_ms)

    async def end(self, requester: Requester, user_id: UserId, room_id: RoomId) -> None:
        """The requester types no longer. Raises `Forbidden` for another user, and for who is not joined."""
        _check_is_self(requester, user_id)
        async with self.database.connection() as connection:
            key = await _key_of_member(connection, room_id, user_id)
            is_news = key in self._timers or await find_typing(connection, (key,))
        self._forget(key)
        if is_news:
            await self.writer.write(_End(keys=(key,), now_ms=self.now_ms()))

    async def hear(self, told: Mapping[TypingKey, bool]) -> None:
        """What another server says of its users, who are members of the rooms: whether they type."""
        now_ms = self.now_ms()
        begun, ended = [key for key, types in told.items() if types], [key for key, types in told.items() if not types]
        async with self.database.transaction() as tx:
            going = await prolong_typing(tx, begun, expires_ts=now_ms + TOLD_TIMEOUT_MS, now_ms=now_ms)
            stopped = {key for key in ended if key in self._timers} | await find_typing(tx, ended)
        new = [key for key in begun if key not in going]
        writes: list[_Begin | _End] = []
        if new:
            writes.append(_Begin(keys=new, expires_ts=now_ms + TOLD_TIMEOUT_MS))
        if stopped:
            writes.append(_End(keys=sorted(stopped), now_ms=now_ms))
        await asyncio.gather(*map(self.writer.write, writes))
        for key in begun:
            self._end_after(key, TOLD_TIMEOUT_MS)
        for key in stopped:
            self._forget(key)

    async def sweep(self) -> None:
        """End what should have ended by now: a process that died can't. Looks only while somebody may be typing."""
        if not self._may_be_left:
            return
        self._may_be_left = False
        async with self.database.connection() as connection:
            keys = await find_expired(connection, expired_by=self.now_ms() - SWEEP_GRACE_MS, limit=SWEPT_MAX)
            if await is_anybody_typing(connection):
                self._may_be_left = True
        if keys:
            await self._end_expired(keys)

    def follow(self, entry: CommitEntry) -> None:
        """Who goes out of a room types there no longer."""
        for facts in entry.facts.values():
            if any(fact.stream == TYPING for fact in facts):
                self._may_be_left = True
        if self._timers:
            for rows in entry.events.values():
                for row in rows:
                    if row.type == MEMBER:
                        self._follow_member(row)

    async def close(self) -> None:
        """Leave what goes on to the other processes, or to the next start."""
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        await asyncio.gather(*self._ends, return_exceptions=True)

    def _follow_member(self, row: EventRow) -> None:
        key = TypingKey(room_nid=row.room_nid, user_id=UserId(row.state_key or ""))
        if key in self._timers and membership_in(decode_lenient(row.body).get("content")) != "join":
            self._forget(key)
            self._start(self._end_now(key))

    def _end_after(self, key: TypingKey, lasts_ms: int) -> None:
        self._forget(key)
        self._timers[key] = asyncio.get_running_loop().call_later(
            (lasts_ms + TIMER_SLACK_MS) / 1000, self._time_is_over, key
        )

    def _forget(self, key: TypingKey) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    def _time_is_over(self, key: TypingKey) -> None:
        self._timers.pop(key, None)
        self._start(self._end_expired((key,)))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="typing-end")
        self._ends.add(task)
        task.add_done_callback(self._is_done)

    def _is_done(self, task: "asyncio.Task[None]") -> None:
        self._ends.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("typing could not be ended; the sweep will", error=type(task.exception()).__name__)
            self._may_be_left = True

    async def _end_now(self, key: TypingKey) -> None:
        await self.writer.write(_End(keys=(key,), now_ms=self.now_ms()))

    async def _end_expired(self, keys: Sequence[TypingKey]) -> None:
        """End those that nobody has prolonged meanwhile."""
        now_ms = self.now_ms()
        await self.writer.write(_End(keys=keys, expired_by=now_ms, now_ms=now_ms))


def _check_is_self(requester: Requester, user_id: UserId) -> None:
    if requester.user_id != user_id:
        raise Forbidden("Only users themselves can say that they are typing")


async def _key_of_member(tx: Connection, room_id: RoomId, user_id: UserId) -> TypingKey:
    room = await find_room_for_user(tx, room_id, user_id)
    if room is None or room.membership != "join":
        raise Forbidden("You aren't a member of the room")
    return TypingKey(room_nid=room.room_nid, user_id=user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Begin:
    keys: Sequence[TypingKey]
    expires_ts: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    @property
    def facts(self) -> tuple[Fact, ...]:
        return tuple(key.as_fact(is_typing=True) for key in self.keys)

    async def store(self, tx: Connection, position: int) -> None:
        await begin_typing(tx, self.keys, expires_ts=self.expires_ts, position=position)


@dataclass(slots=True, kw_only=True)
class _End:
    keys: Sequence[TypingKey]
    now_ms: int
    expired_by: int | None = None
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        ended = await end_typing(tx, self.keys, expired_by=self.expired_by, now_ms=self.now_ms, position=position)
        self.facts = tuple(key.as_fact(is_typing=False) for key in ended)
