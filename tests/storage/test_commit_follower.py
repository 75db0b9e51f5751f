"""Following the commit log across processes."""

import asyncio

from tests.storage.commits import ALICE, Probe
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.store import open_store


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
