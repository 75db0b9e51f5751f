"""The writer's connection is cut at every moment of a commit: what was written is there exactly once, and told of."""

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.storage.commits import Probe, Statement, room_commit
from tests.storage.cutting_proxy import CuttingProxy, Moment, cutting_proxy
from tim_server.matrix.errors import Unavailable
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.store import Store, open_store
from tim_server.storage.writer import HeadMoved, WriterOptions

LOCK_CLOCK = "pg_advisory_xact_lock"
OPTIONS = WriterOptions(reconnect_s_max=1.0)


@dataclass
class Told:
    """What the tail of the commit log told its subscribers."""

    entries: list[CommitEntry] = field(default_factory=list)

    def times(self, nid: int) -> int:
        """How often an event was told of."""
        return sum(row.nid == nid for entry in self.entries for rows in entry.events.values() for row in rows)


@pytest.fixture(scope="module")
async def proxy(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CuttingProxy]:
    """What stands between PostgreSQL and the writer, and the follower of the log; not the pool."""
    async with cutting_proxy(tenant_dsn, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
async def cut_store(tenant_dsn: str, proxy: CuttingProxy) -> AsyncIterator[Store]:
    """A store whose direct connections lead through the proxy."""
    proxy.cuts.clear()
    proxy.refuse = False
    store = await open_store(DatabaseOptions(dsn=tenant_dsn, direct_dsn=proxy.dsn), Codec(), OPTIONS)
    yield store
    proxy.cuts.clear()
    proxy.refuse = False
    await store.close()


@pytest.fixture
def told(cut_store: Store) -> Told:
    """Listens to the store's tail."""
    told = Told()
    cut_store.commit_log.subscribe(told.entries.append)
    return told


async def stored(store: Store, commits: list[RoomCommit]) -> list[int]:
    """How often each commit's event is in the database."""
    async with store.database.connection() as tx:
        rows = await tx.fetch("SELECT event_id FROM events")
    ids = [row["event_id"] for row in rows]
    return [ids.count(commit.events[0].event_id) for commit in commits]


async def newest_position(store: Store) -> int:
    async with store.database.connection() as tx:
        position: int = await tx.fetchval("SELECT max(position) FROM commits")
    return position


async def has_caught_up(store: Store) -> None:
    """Wait, for a time well below that of the follower's own looks, until the tail has the newest commit."""
    newest = await newest_position(store)
    async with asyncio.timeout(5):
        while store.commit_log.position < newest:
            await store.commit_log.advanced()


@pytest.mark.parametrize("statement", ["BEGIN", LOCK_CLOCK, "INSERT INTO audit_log", "COMMIT"])
@pytest.mark.parametrize("moment", list(Moment))
async def test_a_batch_that_loses_its_connection_is_written_once(
    cut_store: Store, proxy: CuttingProxy, told: Told, statement: str, moment: Moment
) -> None:
    mark = secrets.token_hex(8)
    commits = [await room_commit(cut_store) for _ in range(5)]
    note = Statement(f"INSERT INTO audit_log (actor, action, object, outcome) VALUES ('', '', '{mark}', '')")
    made = proxy.made
    proxy.cut(statement, moment)
    placed = await asyncio.gather(
        *(cut_store.writer.commit_room(each) for each in commits), cut_store.writer.write(note)
    )
    assert proxy.made == made + 1
    assert await stored(cut_store, commits) == [1] * 5
    await has_caught_up(cut_store)
    assert [told.times(each.events[0].nid) for each in commits] == [1] * 5
    async with cut_store.database.connection() as tx:
        assert await tx.fetchval("SELECT count(*) FROM audit_log WHERE object = $1", mark) == 1
        positions = {
            row["nid"]: row["position"] for row in await tx.fetch("SELECT nid, position FROM events WHERE minor = 0")
        }
    assert [positions[each.events[0].nid] for each in commits] == [each.last_position for each in placed[:5]]


@pytest.mark.parametrize("moment", list(Moment))
async def test_a_connection_that_is_lost_again_while_the_commit_is_settled(
    cut_store: Store, proxy: CuttingProxy, told: Told, moment: Moment
) -> None:
    commit = await room_commit(cut_store)
    made = proxy.made
    proxy.cut("COMMIT", moment, refusals=2)
    proxy.cut(LOCK_CLOCK, Moment.UNANSWERED, skip=1)  # while the clock is looked at on the new connection
    proxy.cut("FROM commits WHERE position = $1 AND writer_nonce", Moment.UNANSWERED)
    await cut_store.writer.commit_room(commit)
    assert proxy.made == made + 3
    assert await stored(cut_store, [commit]) == [1]
    await has_caught_up(cut_store)
    assert told.times(commit.events[0].nid) == 1


async def test_what_happened_to_a_commit_that_can_not_be_settled_is_told_by_the_log(
    cut_store: Store, proxy: CuttingProxy, told: Told
) -> None:
    commit = await room_commit(cut_store)
    proxy.cut("COMMIT", Moment.ANSWERED)
    writing = asyncio.ensure_future(cut_store.writer.commit_room(commit))
    proxy.refuse = True
    with pytest.raises(Unavailable):
        await writing
    assert await stored(cut_store, [commit]) == [1]
    proxy.refuse = False
    await has_caught_up(cut_store)
    assert told.times(commit.events[0].nid) == 1


async def test_writes_fail_after_a_bounded_time_and_at_once_when_the_outage_lasts(
    cut_store: Store, proxy: CuttingProxy
) -> None:
    loop = asyncio.get_running_loop()
    proxy.refuse = True
    proxy.cut_all()
    began = loop.time()
    for bound_s in (OPTIONS.reconnect_s_max + 2.0, 0.5):
        outcomes = await asyncio.gather(*(cut_store.writer.write(Probe()) for _ in range(3)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Unavailable] * 3
        assert loop.time() - began < bound_s
        began = loop.time()
    proxy.refuse = False
    assert await cut_store.writer.write(Probe()) == await newest_position(cut_store)


async def test_a_write_that_waits_for_postgresql_is_carried_out_when_it_comes_back(
    cut_store: Store, proxy: CuttingProxy
) -> None:
    proxy.refuse = True
    proxy.cut_all()
    writing = asyncio.ensure_future(cut_store.writer.write(Probe()))
    await asyncio.sleep(0.3)
    proxy.refuse = False
    assert await writing == await newest_position(cut_store)


async def test_the_writer_reconnects_when_nobody_writes(cut_store: Store, proxy: CuttingProxy) -> None:
    before = proxy.connections
    proxy.cut_all()
    await asyncio.sleep(1)
    assert proxy.connections == before + 2  # the follower has come back too


async def test_a_write_that_always_loses_the_connection_fails_alone(cut_store: Store, proxy: CuttingProxy) -> None:
    proxy.cut("poison", Moment.UNANSWERED, times=100)
    commits = [await room_commit(cut_store) for _ in range(3)]
    outcomes = await asyncio.gather(
        *(cut_store.writer.commit_room(each) for each in commits),
        cut_store.writer.write(Statement("SELECT 'poison'")),
        return_exceptions=True,
    )
    assert [isinstance(outcome, Exception) for outcome in outcomes] == [False, False, False, True]
    assert isinstance(outcomes[3], Unavailable)
    assert await stored(cut_store, commits) == [1, 1, 1]


async def test_another_process_goes_first_while_a_connection_is_lost(
    cut_store: Store, proxy: CuttingProxy, tenant_dsn: str
) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    new = await room_commit(cut_store)
    placed = await cut_store.writer.commit_room(new)
    follow = [await room_commit(cut_store, room_nid=new.room_nid, expected_version=placed.last_position) for _ in "ab"]
    proxy.cut("COMMIT", Moment.BEFORE, refusals=5)
    losing = asyncio.ensure_future(cut_store.writer.commit_room(follow[0]))
    await asyncio.sleep(0.1)
    await other.writer.commit_room(follow[1])
    with pytest.raises(HeadMoved):
        await losing
    assert await stored(cut_store, follow) == [0, 1]
    await has_caught_up(cut_store)
    await other.close()


async def test_hints_arrive_again_after_the_connection_that_listens_was_cut(
    cut_store: Store, proxy: CuttingProxy, tenant_dsn: str
) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    for _ in range(3):
        proxy.cut_all()
        commit = await room_commit(cut_store)
        await other.writer.commit_room(commit)
        await has_caught_up(cut_store)
    await other.close()


async def test_a_store_closes_while_postgresql_is_away(cut_store: Store, proxy: CuttingProxy) -> None:
    proxy.refuse = True
    proxy.cut_all()
    writing = asyncio.ensure_future(cut_store.writer.write(Probe()))
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        await cut_store.writer.close()
    with contextlib.suppress(Unavailable):
        await writing
