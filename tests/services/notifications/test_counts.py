"""Whatever happens in a room, what is remembered of it, what the database counts, and a naive count agree.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.storage.commits import room_commit
from tim_server.matrix.identifiers import EventId, UserId
from tim_server.matrix.push_rules import DEFAULT_FORECAST, NotifyClass, NotifyLevel, RuleKind
from tim_server.services.notifications import counts as counts_module
from tim_server.services.notifications.counts import UnreadCounts
from tim_server.services.notifications.room_tails import RoomTails
from tim_server.services.notifications.unread import Count, RoomCounts
from tim_server.services.push_rules.change import Placing, PushRuleChange, PushRulePolicy
from tim_server.services.push_rules.known import KnownRules
from tim_server.storage.commit_log import Fact, read_newest_position
from tim_server.storage.database import Connection, DatabaseOptions
from tim_server.storage.notifications import NewNotification, reap
from tim_server.storage.receipts import Receipt, put_receipts
from tim_server.storage.room_commit_records import MembershipChange, RoomCommit
from tim_server.storage.store import Store, open_store

ALICE, BOB, CAROL = USERS = [UserId(f"@{name}:hospital.example") for name in ("alice", "bob", "carol")]
ROOT = EventId("$root")
CLASSES = [NotifyClass.STATE, NotifyClass.QUIET, NotifyClass.MESSAGE, NotifyClass.ENCRYPTED, NotifyClass.ROOM_MENTION]


@dataclass
class Sent:
    """An event as the naive count sees it."""

    position: int
    sender: UserId
    thread_id: str
    notify_class: NotifyClass
    levels: Mapping[UserId, NotifyLevel]
    nid: int
    is_redacted: bool = False


@dataclass
class World:
    """A room with three members, what has happened in it, and what is remembered of it."""

    store: Store
    counts: UnreadCounts
    change: PushRuleChange
    room: RoomCommit
    ignored: Mapping[UserId, frozenset[str]]
    sent: list[Sent] = field(default_factory=list)
    read: dict[tuple[UserId, str], int] = field(default_factory=dict)
    muted: set[UserId] = field(default_factory=set)

    async def append(self, **changes: Any) -> int:
        """Commit an event on the room; its position."""
        (nid,) = await self.store.writer.take_nids(1)
        event = replace(self.room.events[0], nid=nid, event_id=EventId(f"$event{nid}"), type="m.room.message")
        event = replace(event, state_key=None, **changes.pop("event", {}))
        notifications = tuple(replace(n, event_nid=nid) for n in changes.pop("notifications", ()))
        facts = tuple(notification.as_fact(self.room.room_nid) for notification in notifications)
        redactions = tuple((target, nid) for target in changes.pop("redacts", ()))
        commit = replace(
            self.room, events=(event,), notifications=notifications, facts=facts, redactions=redactions, memberships=()
        )
        placed = await self.store.writer.commit_room(commit)
        self.room = replace(self.room, expected_version=placed.last_position)
        return placed.last_position

    async def send(self, sender: UserId, thread: int, notify_class: NotifyClass, levels: Mapping[UserId, int]) -> None:
        thread_id = ROOT if thread else None
        given = {user: NotifyLevel(level) for user, level in levels.items() if user != sender}
        position = await self.append(
            event={"sender": sender, "thread_id": thread_id, "notify_class": notify_class},
            notifications=[
                NewNotification(event_index=0, event_nid=0, user_id=user, level=level) for user, level in given.items()
            ],
        )
        nid = self.room.events[0].nid
        self.sent.append(Sent(position, sender, thread_id or "main", notify_class, given, nid))

    async def redact(self, sender: UserId, index: int) -> None:
        if not self.sent:
            return
        target = self.sent[index % len(self.sent)]
        nid = await self.nid_at(target.position)
        event = {"sender": sender, "type": "m.room.redaction", "notify_class": NotifyClass.QUIET}
        position = await self.append(event=event, redacts=[nid])
        target.is_redacted = True
        self.sent.append(Sent(position, sender, "main", NotifyClass.QUIET, {}, 0))

    async def nid_at(self, position: int) -> int:
        async with self.store.database.connection() as connection:
            nid: int = await connection.fetchval("SELECT nid FROM events WHERE position = $1", position)
        return nid

    async def mark_read(self, user: UserId, kind: str, thread_id: str, index: int) -> None:
        position = self.sent[index % len(self.sent)].position if self.sent else 1
        receipt = Receipt(
            room_nid=self.room.room_nid,
            user_id=user,
            receipt_type=kind,
            thread_id=thread_id,
            event_id=EventId("$x"),
            event_position=position,
            ts=1,
        )
        await self.store.writer.write(Read(receipt))
        self.read[(user, thread_id)] = max(position, self.read.get((user, thread_id), 0))

    async def mute(self, user: UserId, is_muted: bool) -> None:
        place = (user, RuleKind.ROOM, self.room.room_id)
        if is_muted:
            await self.change.put(*place, {"actions": []}, Placing())
            self.muted.add(user)
        elif user in self.muted:
            await self.change.delete(*place)
            self.muted.discard(user)

    def naive(self, user: UserId) -> RoomCounts:
        """The counts, from the whole history."""
        sent_up_to: dict[str, int] = {}
        for event in self.sent:
            if event.sender == user and event.notify_class is not NotifyClass.STATE:
                sent_up_to[event.thread_id] = event.position
        counts: dict[str, Count] = {}
        for event in self.sent:
            threads_read = max(self.read.get((user, event.thread_id), 0), sent_up_to.get(event.thread_id, 0))
            read = max(self.read.get((user, ""), 0), threads_read)
            if event.is_redacted or event.sender in {user, *self.ignored[user]} or event.position <= read:
                continue
            by_class = DEFAULT_FORECAST.levels[event.notify_class]
            if user in self.muted and event.notify_class < NotifyClass.ROOM_MENTION:
                by_class = NotifyLevel.NONE
            level = event.levels.get(user, by_class)
            count = Count(int(level >= NotifyLevel.NOTIFY), int(level >= NotifyLevel.HIGHLIGHT))
            counts[event.thread_id] = counts.get(event.thread_id, Count()) + count
        counts = {thread_id: count for thread_id, count in counts.items() if count != Count()}
        return RoomCounts(main=counts.pop("main", Count()), threads=counts)

    async def check(self, *, all_ways: bool) -> None:
        room = {self.room.room_nid: self.room.room_id}
        for user in USERS:
            expected = {self.room.room_nid: self.naive(user)}
            assert await self.counts.newest(user, room, self.ignored[user]) == expected
            if all_ways:
                async with self.store.database.read() as tx:
                    up_to = await read_newest_position(tx)
                    fresh = make_counts(self.store)
                    assert await fresh.at(tx, user, room, self.ignored[user], up_to) == expected


@dataclass
class Read:
    """Sets a receipt."""

    receipt: Receipt
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    facts: tuple[Fact, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        moved = await put_receipts(tx, [self.receipt], position)
        self.facts = tuple(receipt.as_fact() for receipt in moved)


def make_counts(store: Store) -> UnreadCounts:
    return UnreadCounts(
        database=store.database,
        commit_log=store.commit_log,
        rules=KnownRules(database=store.database, codec=store.codec),
        tails=RoomTails(commit_log=store.commit_log),
    )


async def make_world(store: Store, ignored: Mapping[UserId, frozenset[str]]) -> World:
    room = await room_commit(store)
    nids = await store.writer.take_nids(len(USERS))
    members = [
        replace(room.events[0], nid=nid, event_id=EventId(f"$event{nid}"), type="m.room.member", state_key=user)
        for nid, user in zip(nids, USERS, strict=True)
    ]
    joins = tuple(
        MembershipChange(event_index=1 + i, user_id=user, membership="join", event_nid=nids[i])
        for i, user in enumerate(USERS)
    )
    placed = await store.writer.commit_room(replace(room, events=(room.events[0], *members), memberships=joins))
    counts = make_counts(store)
    store.commit_log.subscribe(counts.follow)
    store.commit_log.subscribe(counts.rules.follow)
    change = PushRuleChange(database=store.database, writer=store.writer, codec=store.codec, policy=PushRulePolicy())
    room = replace(room, expected_version=placed.last_position)
    return World(store=store, counts=counts, change=change, room=room, ignored=ignored)


SENDER = st.sampled_from([BOB, BOB, CAROL, ALICE])
READER = st.sampled_from([ALICE, ALICE, BOB])
SEND = st.tuples(
    st.just("send"),
    SENDER,
    st.sampled_from([0, 0, 1]),
    st.sampled_from(CLASSES),
    st.dictionaries(READER, st.sampled_from(NotifyLevel), max_size=1),
)
MARK_READ = st.tuples(
    st.just("mark_read"),
    READER,
    st.sampled_from(["m.read", "m.read.private"]),
    st.sampled_from(["", "main", ROOT]),
    st.integers(-3, -1),
)
REDACT = st.tuples(st.just("redact"), SENDER, st.integers(-3, -1))
MUTE = st.tuples(st.just("mute"), READER, st.booleans())
STEPS = st.one_of(SEND, SEND, MARK_READ, REDACT, MUTE)


@settings(max_examples=100, deadline=None)
@given(
    steps=st.lists(st.tuples(STEPS, st.booleans()), min_size=15, max_size=40),
    ignored=st.sampled_from([frozenset[str](), frozenset[str]({BOB})]),
)
async def test_counts_agree(store: Store, steps: list[tuple[tuple[Any, ...], bool]], ignored: frozenset[str]) -> None:
    world = await make_world(store, {ALICE: ignored, BOB: frozenset(), CAROL: frozenset()})
    await world.check(all_ways=False)
    for (name, *arguments), is_looked_at in steps:
        await getattr(world, name)(*arguments)
        if is_looked_at:
            await world.check(all_ways=False)
    await world.check(all_ways=True)


async def test_another_process_counts_the_same(store: Store, tenant_dsn: str) -> None:
    world = await make_world(store, {user: frozenset() for user in USERS})
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), store.codec)
    counts = make_counts(other)
    other.commit_log.subscribe(counts.follow)
    room = {world.room.room_nid: world.room.room_id}
    try:
        for step in range(4):
            await world.send(BOB, step % 2, NotifyClass.MESSAGE, {ALICE: NotifyLevel.HIGHLIGHT} if step == 2 else {})
            if step == 3:
                await world.mark_read(ALICE, "m.read", "main", -1)
            await other.follower.catch_up()
            assert await counts.newest(ALICE, room, frozenset()) == {world.room.room_nid: world.naive(ALICE)}
    finally:
        await other.close()


async def test_a_busy_room_needs_no_query(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    world = await make_world(store, {user: frozenset() for user in USERS})
    await world.check(all_ways=False)
    asked = 0

    async def read(*_arguments: object) -> None:
        nonlocal asked
        asked += 1

    monkeypatch.setattr(counts_module, "_count", read)
    for _ in range(5):
        await world.send(BOB, 0, NotifyClass.MESSAGE, {CAROL: NotifyLevel.HIGHLIGHT})
        await world.check(all_ways=False)
        await world.mark_read(ALICE, "m.read", "", -1)
        await world.check(all_ways=False)
    assert asked == 0


REMAINING = "SELECT user_id, level FROM notifications WHERE room_nid = $1 ORDER BY user_id, position"
AGE = "UPDATE notifications SET created_at = clock_timestamp() - $1::interval"


async def test_what_was_read_long_ago_is_reaped(store: Store) -> None:
    world = await make_world(store, {user: frozenset() for user in USERS})
    for thread in (0, 1):
        await world.send(CAROL, thread, NotifyClass.MESSAGE, {ALICE: NotifyLevel.HIGHLIGHT, BOB: NotifyLevel.NONE})
    await world.mark_read(ALICE, "m.read", "main", -1)
    await world.mark_read(BOB, "m.read.private", "", -1)
    left = []
    for days in (6, 8, 200):
        async with store.database.transaction() as tx:
            await tx.execute(AGE, timedelta(days=days))
            await reap(tx)
            left.append([tuple(row) for row in await tx.fetch(REMAINING, world.room.room_nid)])
    assert left == [[(ALICE, 2), (ALICE, 2), (BOB, 0), (BOB, 0)], [(ALICE, 2)], []]


async def test_what_happens_while_the_database_counts_is_taken_in_once(store: Store) -> None:
    world = await make_world(store, dict.fromkeys(USERS, frozenset()))
    room = {world.room.room_nid: world.room.room_id}
    await world.send(BOB, 0, NotifyClass.MESSAGE, {})
    async with store.database.read() as tx:
        up_to = await read_newest_position(tx)
        await world.mark_read(ALICE, "m.read", ROOT, -1)
        await world.send(BOB, 0, NotifyClass.MESSAGE, {})
        await world.counts.at(tx, ALICE, room, frozenset(), up_to)
    await world.check(all_ways=True)
