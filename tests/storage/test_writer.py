"""The writer: group commit, failing alone, moved heads, known transactions."""

import asyncio
import secrets
from dataclasses import dataclass, replace

import pytest

from tests.storage.commits import ALICE, Probe, Statement, room_commit
from tim_server.matrix.errors import Forbidden, Unavailable
from tim_server.matrix.identifiers import EventId, RoomAlias, UserId
from tim_server.storage.client_transactions import ClientTransaction
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, DatabaseError, DatabaseOptions
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.store import Store, open_store
from tim_server.storage.writer import HeadMoved, TransactionKnown


def refuse(_tx: Connection, _position: int) -> object:
    raise Forbidden("no")


async def test_a_write_gets_a_position_and_wakes_the_log(store: Store) -> None:
    before = store.commit_log.position
    position = await store.writer.write(Probe(lambda _tx, position: position))
    assert position == store.commit_log.position > before
    (entry,) = store.commit_log.since(before) or ()
    assert entry.users == {ALICE: frozenset({"probe"})}


async def test_concurrent_writes_share_commits(store: Store) -> None:
    positions = await asyncio.gather(*(store.writer.write(Probe(lambda _tx, position: position)) for _ in range(50)))
    assert len(set(positions)) < 10


async def test_a_refused_write_fails_alone(store: Store) -> None:
    outcomes = await asyncio.gather(
        *(store.writer.write(Probe(refuse if i == 7 else lambda _tx, p: p)) for i in range(20)), return_exceptions=True
    )
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, Exception)] == [7]


async def test_many_refused_writes_cost_one_more_attempt_and_leave_nothing_behind(store: Store) -> None:
    tries: list[int] = []

    def accept(_tx: Connection, position: int) -> int:
        tries.append(position)
        return position

    async def refuse_after_writing(tx: Connection, position: int) -> object:
        tries.append(position)
        await tx.execute("INSERT INTO published_rooms (room_nid) VALUES ($1)", position)
        raise Forbidden("no")

    writes = [*(Probe(accept) for _ in range(50)), *(Probe(refuse_after_writing) for _ in range(50))]
    before = store.commit_log.position
    outcomes = await asyncio.gather(*(store.writer.write(write) for write in writes), return_exceptions=True)
    assert all(isinstance(outcome, Forbidden) for outcome in outcomes[50:])
    (entry,) = store.commit_log.since(before) or ()
    assert outcomes[:50] == [entry.position] * 50
    assert len(tries) == (50 + 1) + (50 + 49)
    async with store.database.connection() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM published_rooms")


@pytest.mark.parametrize("poison", ["nul", "duplicate id", "long key"])
async def test_a_poisoned_draft_fails_alone_in_a_batch_of_fifty(store: Store, poison: str) -> None:
    commits = [await room_commit(store) for _ in range(50)]
    bad = commits[13].events[0]
    poisoned = {
        "nul": lambda: {"type": "a\0b"},
        "duplicate id": lambda: {"event_id": commits[12].events[0].event_id},
        "long key": lambda: {"event_id": EventId("$" + secrets.token_urlsafe(45_000))},
    }[poison]()
    event = NewEvent(**({name: getattr(bad, name) for name in NewEvent.__slots__} | poisoned))
    commits[13] = await room_commit(store, events=(event,))
    outcomes = await asyncio.gather(*(store.writer.commit_room(c) for c in commits), return_exceptions=True)
    failed = [i for i, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)]
    assert failed == [13]
    assert isinstance(outcomes[13], DatabaseError | ValueError)
    async with store.database.connection() as connection:
        stored = await connection.fetchval(
            "SELECT count(*) FROM rooms WHERE room_id = ANY($1)", [c.room_id for c in commits]
        )
    assert stored == 49


async def test_a_moved_head_is_given_back(store: Store) -> None:
    new = await room_commit(store)
    placed = await store.writer.commit_room(new)
    follow = await room_commit(store, room_nid=new.room_nid, expected_version=placed.last_position)
    await store.writer.commit_room(follow)
    late = await room_commit(store, room_nid=new.room_nid, expected_version=placed.last_position)
    with pytest.raises(HeadMoved):
        await store.writer.commit_room(late)


async def test_a_transaction_id_is_accepted_once(store: Store) -> None:
    async def with_transaction() -> RoomCommit:
        commit = await room_commit(store)
        transaction = ClientTransaction(
            user_id=ALICE,
            device_id="DEVICE",
            key_hash=b"one",
            txn_id="1",
            event_nid=commit.events[0].nid,
            event_id=commit.events[0].event_id,
        )
        return await room_commit(store, events=commit.events, transactions=(transaction,))

    await store.writer.commit_room(await with_transaction())
    again = await with_transaction()
    with pytest.raises(TransactionKnown):
        await store.writer.commit_room(again)
    async with store.database.connection() as connection:
        assert not await connection.fetchval("SELECT count(*) FROM events WHERE nid = $1", again.events[0].nid)


async def test_a_caller_that_vanishes_harms_no_one(store: Store) -> None:
    commits = [await room_commit(store) for _ in range(10)]
    tasks = [asyncio.create_task(store.writer.commit_room(commit)) for commit in commits]
    await asyncio.sleep(0)
    tasks[4].cancel()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [i for i, o in enumerate(outcomes) if isinstance(o, BaseException)] == [4]
    async with store.database.connection() as connection:
        stored = await connection.fetchval(
            "SELECT count(*) FROM rooms WHERE room_id = ANY($1)", [c.room_id for c in commits]
        )
    assert stored == 10


async def test_a_connection_lost_between_commits_is_mended(store: Store) -> None:
    await store.writer.write(Probe(lambda _tx, position: position))
    async with store.database.connection() as connection:
        pid = store.writer._connection.get_server_pid()  # type: ignore[union-attr]
        await connection.execute("SELECT pg_terminate_backend($1)", pid)
    assert await store.writer.write(Probe(lambda _tx, position: position)) == store.commit_log.position


@pytest.mark.parametrize("sqlstate", ["53100", "57014", "58030", "25006"])
async def test_a_postgresql_that_can_not_write_now(store: Store, sqlstate: str) -> None:
    full = Statement(f"DO $$ BEGIN RAISE EXCEPTION SQLSTATE '{sqlstate}'; END $$")
    outcomes = await asyncio.gather(store.writer.write(full), store.writer.write(Probe()), return_exceptions=True)
    assert isinstance(outcomes[0], Unavailable)
    assert outcomes[1] == store.commit_log.position


async def test_nids_are_never_given_twice(store: Store) -> None:
    taken = [nid for _ in range(40) for nid in await store.writer.take_nids(100)]
    assert len(set(taken)) == len(taken)


@dataclass(frozen=True, slots=True, kw_only=True)
class Remark:
    """A small write that leaves a fact of a room."""

    facts: tuple[Fact, ...]
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> int:
        return position


async def test_facts_of_small_writes_and_of_rooms_reach_the_logs_of_all_processes(
    store: Store, tenant_dsn: str
) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    try:
        before = store.commit_log.position
        commit = await room_commit(store)
        of_room = Fact("outcomes", commit.room_nid, (str(ALICE), 1))
        remarks = [Fact("receipts", 7, (str(ALICE), None, n)) for n in range(3)]
        await asyncio.gather(
            store.writer.commit_room(replace(commit, facts=(of_room,))),
            *(store.writer.write(Remark(facts=(fact,))) for fact in remarks),
        )
        await other.follower.catch_up()
        for log in (store.commit_log, other.commit_log):
            told = [fact for entry in log.since(before) or () for facts in entry.facts.values() for fact in facts]
            assert sorted(told) == sorted([of_room, *remarks])
    finally:
        await other.close()


async def test_a_replacement_is_made_with_the_commit_that_it_belongs_to_or_not_at_all(store: Store) -> None:
    alias = RoomAlias("#ward:hospital.example")
    old = await room_commit(store, creator=ALICE, aliases=(alias,), is_published=True)
    placed = await store.writer.commit_room(old)
    successor = await room_commit(store)

    async def names() -> list[int]:
        async with store.database.connection() as connection:
            return [
                await connection.fetchval("SELECT room_nid FROM room_aliases WHERE alias = $1", alias),
                await connection.fetchval("SELECT min(room_nid) FROM published_rooms"),
                await connection.fetchval("SELECT count(*) FROM rooms WHERE nid = $1", successor.room_nid),
            ]

    last = await room_commit(store, room_nid=old.room_nid, expected_version=-1, replacement=successor)
    with pytest.raises(HeadMoved):
        await store.writer.commit_room(last)
    assert await names() == [old.room_nid, old.room_nid, 0]
    before = store.commit_log.position
    await store.writer.commit_room(replace(last, expected_version=placed.last_position))
    assert await names() == [successor.room_nid, successor.room_nid, 1]
    (entry,) = store.commit_log.since(before) or ()
    assert entry.events.keys() == {old.room_nid, successor.room_nid}
