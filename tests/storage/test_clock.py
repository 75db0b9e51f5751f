"""The clock: positions in order over processes, and the jump after a restart, a failover or a restore."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from tests.storage.commits import Probe
from tim_server.storage import clock
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database, DatabaseOptions
from tim_server.storage.store import Store, open_store

JUMP_MIN = 2**32


@pytest.fixture
async def tx(database: Database):
    """A transaction that holds the clock, and is rolled back."""
    connection = await database.connect()
    transaction = connection.transaction()
    await transaction.start()
    await clock.lock_clock(connection)
    yield connection
    await transaction.rollback()
    await connection.close()


async def forge_incarnation(tx: Connection, *, timeline: int = 1, started: datetime | None = None) -> None:
    """Have the clock believe that it last ran on this incarnation."""
    started = started or datetime.now(UTC) - timedelta(days=1)
    await tx.execute("UPDATE clock_incarnations SET postgres_timeline = $1, postgres_started = $2", timeline, started)


async def commits_up_to(tx: Connection, position: int) -> None:
    """Make this the newest position."""
    await tx.execute("DELETE FROM commits WHERE position > $1", position)
    await clock.record_commit(tx, position=position, nonce=1, touched=b"{}")


async def last_block(tx: Connection) -> int:
    block: int = await tx.fetchval("SELECT last_value FROM nid_blocks")
    return block


async def test_a_fresh_schema_begins_at_the_start(database: Database, tx: Connection) -> None:
    await tx.execute("DELETE FROM clock_incarnations")
    await tx.execute("DELETE FROM commits")
    incarnation, position = await clock.jump_if_restored(tx)
    assert position == 0
    assert await clock.jump_if_restored(tx) == (incarnation, 0)


async def test_nothing_jumps_while_postgresql_stays_the_same(store: Store, tx: Connection) -> None:
    before = await tx.fetchval(clock.READ_POSITION)
    blocks = await last_block(tx)
    _, position = await clock.jump_if_restored(tx)
    assert (position, await last_block(tx)) == (before, blocks)


@pytest.mark.parametrize("change", ["start", "timeline"])
async def test_another_start_or_timeline_makes_the_clock_jump(store: Store, tx: Connection, change: str) -> None:
    incarnation, _ = await clock.jump_if_restored(tx)
    if change == "start":
        await forge_incarnation(tx, timeline=incarnation.timeline)
    else:
        await forge_incarnation(tx, timeline=incarnation.timeline + 1, started=incarnation.started)
    await commits_up_to(tx, 7)
    block = await last_block(tx)
    _, position = await clock.jump_if_restored(tx)
    assert position >= 7 + JUMP_MIN
    assert await tx.fetchval(clock.READ_POSITION) == position
    assert await last_block(tx) > max(block, position // clock.NIDS_PER_BLOCK)
    assert await clock.jump_if_restored(tx) == (incarnation, position)


async def test_a_backup_from_before_the_first_commit_jumps_too(store: Store, tx: Connection) -> None:
    await forge_incarnation(tx)
    await tx.execute("DELETE FROM commits")
    _, position = await clock.jump_if_restored(tx)
    assert position >= JUMP_MIN


async def test_a_restored_clock_is_ahead_of_many_restarts_that_were_lost(store: Store, tx: Connection) -> None:
    await commits_up_to(tx, 7)
    lost = 0
    for _ in range(20):
        await forge_incarnation(tx)
        _, lost = await clock.jump_if_restored(tx)
    lost_block = await last_block(tx)
    await tx.execute("DELETE FROM commits")  # the older backup, in which none of the jumps has happened
    await commits_up_to(tx, 7)
    await tx.fetchval("SELECT setval('nid_blocks', 3)")
    await forge_incarnation(tx)
    await asyncio.sleep(0.01)
    _, position = await clock.jump_if_restored(tx)
    assert position > lost
    assert await last_block(tx) > lost_block


async def test_a_clock_that_was_set_back_still_jumps(store: Store, tx: Connection) -> None:
    future = (int(datetime.now(UTC).timestamp()) + 86_400) << 28
    await commits_up_to(tx, future)
    await forge_incarnation(tx)
    _, position = await clock.jump_if_restored(tx)
    assert position == future + JUMP_MIN


async def test_positions_and_tokens_keep_room_to_grow(store: Store, tx: Connection) -> None:
    await forge_incarnation(tx)
    _, position = await clock.jump_if_restored(tx)
    assert len(str(position)) <= 18
    assert await last_block(tx) * clock.NIDS_PER_BLOCK < 2**60


async def test_whoever_waits_for_the_clock_sees_the_commit_before(database: Database, tx: Connection) -> None:
    newest = await clock.lock_clock(tx)
    other = await database.connect()
    waiting = asyncio.ensure_future(_position_after_waiting(other))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await clock.record_commit(tx, position=newest + 5, nonce=1, touched=b"{}")
    await tx.execute("COMMIT")
    assert await waiting == newest + 5
    await tx.execute("BEGIN")
    await other.close()


async def _position_after_waiting(connection: Connection) -> int:
    async with connection.transaction():
        return await clock.lock_clock(connection)


async def test_processes_take_positions_in_turn(store: Store, tenant_dsn: str) -> None:
    others = [await open_store(DatabaseOptions(dsn=tenant_dsn), Codec()) for _ in range(2)]
    stores = [store, *others]
    positions = await asyncio.gather(*(each.writer.write(Probe()) for _ in range(20) for each in stores))
    for number in range(3):
        own = positions[number::3]
        assert own == sorted(own)
    for first in range(3):
        for second in range(first):
            assert not set(positions[first::3]) & set(positions[second::3])
    for each in stores:
        await each.follower.catch_up()
        entries = each.commit_log.since(each.commit_log.oldest_position) or []
        assert [entry.previous for entry in entries[1:]] == [entry.position for entry in entries[:-1]]
    assert len({each.commit_log.position for each in stores}) == 1
    for other in others:
        await other.close()
