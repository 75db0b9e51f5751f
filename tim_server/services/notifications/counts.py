"""Counts of what users have not read, remembered and moved on with the commit log's tail, so that a woken sync in a
busy room needs no query for them.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

import asyncio
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple

from tim_server.matrix.identifiers import UserId
from tim_server.services.notifications.room_tails import Happened, RoomTails
from tim_server.services.notifications.unread import CountedEvent, RoomCounts, Unread, unread_of
from tim_server.services.push_rules.known import KnownRules
from tim_server.storage.commit_log import CommitEntry, CommitLog, Fact, read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.receipts import MAIN_THREAD, READ, READ_PRIVATE, RECEIPTS
from tim_server.storage.unread import UserInRoom, count_unread, load_read_positions

MEMBER = "m.room.member"
REDACTION = "m.room.redaction"
TALLIES_PER_QUERY = 50
THREADS_REMEMBERED_MAX = 100
"""Tallies of more threads are counted each time."""


@dataclass(slots=True, kw_only=True)
class UnreadCounts:
    """Remembered tallies, least recently used dropped first; `tallies_max` bounds their number. `_wanted` are those
    that the next query counts, by user and room, for all who ask meanwhile."""

    database: Database
    commit_log: CommitLog
    rules: KnownRules
    tails: RoomTails
    tallies_max: int = 20_000
    _tallies: OrderedDict[UserInRoom, Unread] = field(default_factory=OrderedDict)
    _wanted: "dict[UserInRoom, tuple[frozenset[str], asyncio.Future[Unread]]]" = field(default_factory=dict)
    _counting: "asyncio.Task[None] | None" = None

    async def newest(
        self, user_id: UserId, room_ids: Mapping[int, str], ignored: frozenset[str]
    ) -> dict[int, RoomCounts]:
        """The counts of these rooms, by nid, as they are now."""
        tallies = {room_nid: self._current((user_id, room_nid), ignored) for room_nid in room_ids}
        wanted = {nid: self._want((user_id, nid), ignored) for nid, tally in tallies.items() if tally is None}
        found = {nid: tally for nid, tally in tallies.items() if tally is not None}
        for room_nid, future in wanted.items():
            found[room_nid] = await asyncio.shield(future)
        rules = (await self.rules.load((user_id,)))[user_id]
        return {room_nid: tally.counts(rules, room_ids[room_nid]) for room_nid, tally in found.items()}

    async def at(
        self, tx: Connection, user_id: UserId, room_ids: Mapping[int, str], ignored: frozenset[str], up_to: int
    ) -> dict[int, RoomCounts]:
        """The counts of these rooms, by nid, up to a position that the transaction sees."""
        keys = {(user_id, room_nid): ignored for room_nid in room_ids}
        tallies = await _count(tx, keys, up_to)
        rules = (await self.rules.load_within(tx, (user_id,), up_to))[user_id]
        counts = {key[1]: tally.counts(rules, room_ids[key[1]]) for key, tally in tallies.items()}
        for key, tally in tallies.items():
            self._remember(key, tally)
        return counts

    def _current(self, key: UserInRoom, ignored: frozenset[str]) -> Unread | None:
        """The tally as it is now, if it is remembered and the log's tail suffices to move it on."""
        tally = self._tallies.get(key)
        if tally is None:
            return None
        if tally.ignored == ignored and self._move_on(key, tally, self.commit_log.position):
            self._tallies.move_to_end(key)
            return tally
        del self._tallies[key]
        return None

    def _move_on(self, key: UserInRoom, tally: Unread, up_to: int) -> bool:
        """Take in what has happened in the room up to a position; False where it must be counted anew."""
        if tally.covered < self.commit_log.oldest_position:
            return False
        for happened in self.tails.since(key[1], tally.covered):
            if happened.position > up_to:
                break
            if not _take_in(tally, happened):
                return False
        tally.covered = max(tally.covered, up_to)
        return True

    def _remember(self, key: UserInRoom, tally: Unread) -> None:
        """Keep a tally that was just counted, brought up to now."""
        self._tallies.pop(key, None)
        entries = self.commit_log.since(tally.covered)
        if entries is None or len(tally.cells) > THREADS_REMEMBERED_MAX:
            return
        for entry in entries:
            if key[1] in entry.resets:
                return
            for mark in _marks_in(entry.facts.get(key[1], ())):
                if mark.user_id == key[0] and not self._mark_read(key, tally, mark, entry.previous):
                    return
        if not self._move_on(key, tally, self.commit_log.position):
            return
        self._tallies[key] = tally
        if len(self._tallies) > self.tallies_max:
            self._tallies.popitem(last=False)

    def _mark_read(self, key: UserInRoom, tally: Unread, mark: "_Mark", previous: int) -> bool:
        return self._move_on(key, tally, previous) and tally.mark_read(mark.thread_id, mark.position)

    def _want(self, key: UserInRoom, ignored: frozenset[str]) -> "asyncio.Future[Unread]":
        """The tally, counted with others that are wanted at the same time."""
        known = self._wanted.get(key)
        if known is not None and known[0] == ignored:
            return known[1]
        future: asyncio.Future[Unread] = asyncio.get_running_loop().create_future()
        self._wanted[key] = (ignored, future)
        if self._counting is None or self._counting.done():
            self._counting = asyncio.create_task(self._count_wanted(), name="count-unread")
        return future

    async def _count_wanted(self) -> None:
        while self._wanted:
            batch = dict(islice(self._wanted.items(), TALLIES_PER_QUERY))
            for key in batch:
                del self._wanted[key]
            try:
                async with self.database.read() as tx:
                    up_to = await read_newest_position(tx)
                    tallies = await _count(tx, {key: ignored for key, (ignored, _) in batch.items()}, up_to)
                    await self.rules.load_within(tx, {user_id for user_id, _ in batch}, up_to)  # they are needed next
            except Exception as error:
                for _, future in batch.values():
                    future.set_exception(error)
                continue
            for key, (_, future) in batch.items():
                self._remember(key, tallies[key])
                future.set_result(tallies[key])

    def follow(self, entry: CommitEntry) -> None:
        """Take in who has read what; events are taken in when somebody asks."""
        for room_nid, facts in entry.facts.items():
            for mark in _marks_in(facts):
                key = (mark.user_id, room_nid)
                tally = self._tallies.get(key)
                if tally is not None and not self._mark_read(key, tally, mark, entry.previous):
                    del self._tallies[key]
        if entry.resets:
            for key in [key for key in self._tallies if key[1] in entry.resets]:
                del self._tallies[key]
        self.tails.follow(entry)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._tallies.clear()


def _take_in(tally: Unread, happened: Happened) -> bool:
    """Count the events of a commit; False where only the database tells what they change."""
    for row in happened.rows:
        is_own_membership = row.type == MEMBER and row.state_key == tally.user_id
        if is_own_membership or (row.type == REDACTION and tally.cells):
            return False
        level = happened.levels.get((tally.user_id, row.nid)) if happened.levels else None
        tally.add(CountedEvent(row.position or 0, row.sender, row.thread_id or MAIN_THREAD, row.notify_class, level))
    return True


class _Mark(NamedTuple):
    """Up to which position a user has read a room or a thread."""

    user_id: UserId
    thread_id: str
    position: int


def _marks_in(facts: Iterable[Fact]) -> Iterator[_Mark]:
    """The receipts among facts, as far as they tell what was read."""
    for stream, _, value in facts:
        if stream == RECEIPTS and value[1] in (READ, READ_PRIVATE):
            yield _Mark(UserId(value[0]), str(value[2]), int(value[4] or 0))


async def _count(tx: Connection, keys: Mapping[UserInRoom, frozenset[str]], up_to: int) -> dict[UserInRoom, Unread]:
    """Tallies by user and room; `keys` names whom the users ignore."""
    read = await load_read_positions(tx, keys)
    pairs = {(user_id, sender) for (user_id, _), ignored in keys.items() for sender in ignored}
    counted = await count_unread(tx, read, up_to, pairs)
    return {key: unread_of(key[0], up_to, keys[key], read[key], counted[key]) for key in keys}
