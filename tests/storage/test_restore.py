"""An older backup put in place of the data: with the process that remembers the lost future still running."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.storage.commits import ALICE, Probe, room_commit
from tests.storage.data_copy import copy_data
from tim_server.matrix.end_to_end.one_time_keys import read_one_time_keys
from tim_server.matrix.errors import Unavailable
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, DatabaseOptions
from tim_server.storage.embedded import EmbeddedPostgres
from tim_server.storage.migrations import migrate
from tim_server.storage.one_time_keys import add_one_time_keys, claim_keys, load_key_counts
from tim_server.storage.store import Store, open_store
from tim_server.storage.writer import HeadMoved


@dataclass
class Site:
    """A PostgreSQL of its own, with a backup of the moment when the test began."""

    postgres: EmbeddedPostgres
    backup: Path
    dsn: str

    async def back_up(self) -> None:
        """Keep the data as it is now."""
        await asyncio.to_thread(self._exchange, self.postgres.data_folder, self.backup)

    async def restore(self) -> None:
        """Put the backup back."""
        await asyncio.to_thread(self._exchange, self.backup, self.postgres.data_folder)

    def _exchange(self, source: Path, target: Path) -> None:
        self.postgres.stop()
        copy_data(source, target)
        self.postgres.start()


@pytest.fixture(scope="module")
async def site(open_tmp_path: Path) -> AsyncIterator[Site]:
    """A migrated schema in a PostgreSQL that nobody else uses."""
    with EmbeddedPostgres(open_tmp_path / "site", durable=False) as postgres:
        dsn = await postgres.provision_tenant("clinic")
        await migrate(dsn)
        yield Site(postgres=postgres, backup=open_tmp_path / "backup", dsn=dsn)


@pytest.fixture
async def stores(site: Site) -> AsyncIterator[tuple[Store, Store]]:
    """Two processes on the same schema."""
    stores = [await open_store(DatabaseOptions(dsn=site.dsn), Codec()) for _ in range(2)]
    yield stores[0], stores[1]
    for store in stores:
        await store.close()


async def positions_and_nids(store: Store) -> tuple[list[int], list[int]]:
    """All that are in use."""
    async with store.database.connection() as tx:
        positions = [row["position"] for row in await tx.fetch("SELECT position FROM commits")]
        nids = await tx.fetch("SELECT nid FROM events UNION ALL SELECT nid FROM rooms")
    return positions, [row["nid"] for row in nids]


async def write_patiently(store: Store) -> int:
    """A small write, repeated while PostgreSQL is away."""
    while True:
        try:
            return int(await store.writer.write(Probe()))
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_nothing_that_was_given_out_in_the_lost_future_is_given_again(
    site: Site, stores: tuple[Store, Store]
) -> None:
    here, there = stores
    old = await room_commit(here)
    placed = await here.writer.commit_room(old)
    backed_up = await write_patiently(here)
    await site.back_up()
    lost_nids: set[int] = set()
    for store in stores:
        await write_patiently(store)
        for _ in range(3):
            lost = await room_commit(store)
            await store.writer.commit_room(lost)
            lost_nids |= {lost.room_nid, lost.events[0].nid}
    lost_head = await here.writer.commit_room(
        await room_commit(here, room_nid=old.room_nid, expected_version=placed.last_position)
    )
    lost_position = await write_patiently(there)
    assert lost_position > lost_head.last_position > backed_up

    await site.restore()
    nids = [*await _take_nids_patiently(there), *await _take_nids_patiently(here)]
    assert len(set(nids) | lost_nids) == len(nids) + len(lost_nids)
    assert await write_patiently(here) > lost_position
    assert await write_patiently(there) > lost_position
    with pytest.raises(HeadMoved):
        await here.writer.commit_room(
            await room_commit(here, room_nid=old.room_nid, expected_version=lost_head.last_position)
        )
    positions, nids = await positions_and_nids(here)
    assert not lost_nids & set(nids)
    assert not [position for position in positions if backed_up < position <= lost_position]


async def _take_nids_patiently(store: Store) -> range:
    while True:
        try:
            return await store.writer.take_nids(1000)
        except Unavailable:
            await asyncio.sleep(0.05)


async def test_the_tail_forgets_what_was_lost_and_goes_on_unprompted(site: Site, stores: tuple[Store, Store]) -> None:
    here, there = stores
    await write_patiently(here)
    await site.back_up()
    forgotten: list[str] = []
    here.writer.on_restored.append(lambda: forgotten.append("here"))
    there.writer.on_restored.append(lambda: forgotten.append("there"))
    before = await write_patiently(here)
    await here.writer.commit_room(await room_commit(here))
    lost = await write_patiently(there)
    await there.follower.catch_up()
    assert here.commit_log.position >= before

    await site.restore()
    await asyncio.sleep(1)  # nobody writes
    assert sorted(set(forgotten)) == ["here", "there"]
    for store in stores:
        assert store.commit_log.since(before) is None
        assert store.commit_log.since(lost) is None
    position = await write_patiently(here)
    async with asyncio.timeout(5):
        while there.commit_log.position < position:
            await there.commit_log.advanced()
    newest = (there.commit_log.since(there.commit_log.oldest_position) or [])[-1]
    assert (newest.position, newest.users) == (position, {Probe().users[0]: frozenset({"probe"})})


async def test_a_process_that_starts_after_the_restore_jumps_before_it_serves(site: Site) -> None:
    store = await open_store(DatabaseOptions(dsn=site.dsn), Codec())
    await write_patiently(store)
    await store.close()
    await site.back_up()
    store = await open_store(DatabaseOptions(dsn=site.dsn), Codec())
    lost = [await write_patiently(store) for _ in range(5)]
    lost_nids = await store.writer.take_nids(10)
    await store.close()
    await site.restore()
    store = await open_store(DatabaseOptions(dsn=site.dsn), Codec())
    assert store.commit_log.position > lost[-1]
    assert (await store.writer.take_nids(1))[0] > lost_nids[-1]
    await store.close()


async def test_no_one_time_key_that_was_there_before_is_given_out_after_a_restore(
    site: Site, stores: tuple[Store, Store]
) -> None:
    here, there = stores
    owner, codec = (ALICE, "DEVICE"), here.codec
    keys = read_one_time_keys({f"x:{number}": "key" for number in range(4)})

    async def upload(tx: Connection, position: int) -> None:
        await add_one_time_keys(tx, codec, owner, keys, position=position)

    async def claim(tx: Connection, position: int) -> list[str]:
        return [key.name for key in await claim_keys(tx, codec, [(*owner, "x")], position=position)]

    await write_patiently(here)
    await here.writer.write(Probe(upload))
    assert await here.writer.write(Probe(claim)) == ["x:0"]
    await site.back_up()
    await site.restore()
    await write_patiently(there)
    for store in stores:
        await write_patiently(store)
        assert await store.writer.write(Probe(claim)) == []
        await store.writer.write(Probe(upload))  # a client that repeats what it uploaded before
        assert await store.writer.write(Probe(claim)) == []
    async with there.database.connection() as connection:
        assert (await load_key_counts(connection, *owner)).one_time_keys == {}
