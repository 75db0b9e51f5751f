"""Following the commit log across processes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.storage.commits import ALICE, Probe, room_commit
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import read_entries
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.store import Store, open_store


async def test_what_another_process_commits_is_followed(tenant_dsn: str) -> None:
    first = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    second = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    position = await second.writer.write(Probe())
    async with asyncio.timeout(10):
        while first.commit_log.position < position:
            await asyncio.shield(first.commit_log.advanced())
    (entry,) = [entry for entry in first.commit_log.since(0) or () if entry.position == position]
    assert entry.users == {ALICE: frozenset({"probe"})}
    await second.close()
    await first.close()


async def test_a_process_that_hears_of_another_is_no_longer_alone(tenant_dsn: str) -> None:
    first = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec(), alone=True)
    assert first.follower.is_alone
    second = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec(), alone=True)
    position = await second.writer.write(Probe())
    async with asyncio.timeout(10):
        while first.commit_log.position < position:
            await asyncio.shield(first.commit_log.advanced())
    assert not first.follower.is_alone
    for _ in range(20):
        position = await second.writer.write(Probe())
        await first.follower.catch_up()
        assert first.commit_log.position >= position
    await second.close()
    await first.close()


@pytest.fixture
async def deaf(tenant_dsn: str) -> AsyncIterator[Store]:
    """A process that hears of no other, and so falls behind until it catches up."""
    store = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    connection = store.follower._connection
    assert connection is not None
    await connection.remove_listener(store.follower._channel, store.follower._hear)
    yield store
    await store.close()


async def commit_and_trim(tenant_dsn: str, count: int) -> int:
    """Commit small writes in another process, and remove all rows but the newest; its position."""
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    for _ in range(count):
        position = await other.writer.write(Probe())
    async with other.database.connection() as connection:
        await connection.execute("DELETE FROM commits WHERE position < $1", position)
    await other.close()
    return position


async def test_who_fell_behind_what_is_kept_starts_anew_and_drops_what_is_remembered(
    deaf: Store, tenant_dsn: str
) -> None:
    await deaf.writer.write(Probe())
    before, dropped, waiting = deaf.commit_log.position, [], deaf.commit_log.advanced()
    deaf.writer.on_restored.append(lambda: dropped.append(deaf.commit_log.position))
    newest = await commit_and_trim(tenant_dsn, 3)
    await deaf.follower.catch_up()
    assert deaf.commit_log.position == newest
    assert deaf.commit_log.since(before) is None
    assert dropped == [newest]
    assert waiting.done()
    follow = await deaf.writer.write(Probe())
    assert [entry.position for entry in deaf.commit_log.since(newest) or ()] == [follow]


async def test_who_fell_behind_less_reads_what_is_missing(deaf: Store, tenant_dsn: str) -> None:
    await deaf.writer.write(Probe())
    before, dropped = deaf.commit_log.position, []
    deaf.writer.on_restored.append(lambda: dropped.append(True))
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    positions = [await other.writer.write(Probe()) for _ in range(3)]
    await other.close()
    await deaf.follower.catch_up()
    assert [entry.position for entry in deaf.commit_log.since(before) or ()] == positions
    assert not dropped


async def test_a_read_is_bounded_by_entries_and_by_events(store: Store) -> None:
    before = await store.writer.write(Probe())
    positions = [(await store.writer.commit_room(await room_commit(store))).last_position for _ in range(5)]

    async def read(after: int, *, limit: int, events_max: int) -> tuple[list[int], bool]:
        async with store.database.read() as tx:
            found = await read_entries(tx, store.codec, after, limit=limit, events_max=events_max)
        return [entry.position for entry in found.entries], found.more

    assert await read(before, limit=10, events_max=10) == (positions, False)
    assert await read(before, limit=2, events_max=10) == (positions[:2], True)
    assert await read(before, limit=10, events_max=3) == (positions[:3], True)
    assert await read(positions[2], limit=10, events_max=3) == (positions[3:], False)
    assert await read(before, limit=10, events_max=0) == (positions[:1], True)
