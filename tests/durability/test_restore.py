"""An older backup is put in place while clients keep tokens of the future that it loses."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.durability.api import Account
from tests.durability.form import IS_SHORT
from tests.durability.load import Load, load_on
from tests.durability.site import Site, run_site
from tests.storage.data_copy import copy_data
from tim_server.storage.embedded import EmbeddedPostgres

pytestmark = pytest.mark.long

WAYS = {"the server starts after": (False, 1), "two workers run on": (True, 2)}
if not IS_SHORT:
    WAYS |= {"the server runs on": (True, 1), "two workers start after": (False, 2)}
CLEARLY_ABOVE = 1_000_000
NEWEST = "SELECT max(position) AS position, (SELECT max(nid) FROM events) AS nid FROM commits"
OLDEST_AFTER = "SELECT min(position) AS position FROM commits WHERE position > $1"
EVENTS_AFTER = "SELECT nid, event_id FROM events WHERE nid > $1"


@dataclass
class Lost:
    """The future that is lost: its events, an account and a room made in it, the newest position, and what its nids
    named."""

    events: frozenset[str]
    account: Account
    room_id: str
    position: int
    nids: dict[int, str]


@pytest.fixture
async def postgres(open_tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[EmbeddedPostgres]:
    """A PostgreSQL that does not stop when the server does, in the folder of the site."""
    folder = open_tmp_path / f"restore-{request.node.callspec.id.replace(' ', '-')}" / "data" / "postgresql"
    with EmbeddedPostgres(folder) as postgres:
        yield postgres


async def restart(postgres: EmbeddedPostgres) -> None:
    """Stop PostgreSQL and start it again."""
    await asyncio.to_thread(postgres.stop)
    await asyncio.to_thread(postgres.start)


async def live_and_lose(load: Load, postgres: EmbeddedPostgres, kept: set[str], kept_nid: int) -> Lost:
    """Go on for a while, with two restarts, until PostgreSQL is stopped; what will be lost."""
    for _ in range(2):
        await asyncio.sleep(0.5)
        await restart(postgres)
    await load.site.wait_until_ready()
    account = await load.api.register("latecomer")
    room_id = await account.create_room()
    for listener in load.listeners:
        await load.api.insist(listener.account.token, "POST", f"/join/{quote(room_id)}", {})
    await load.heard_of(room_id)  # gaps of a room that is gone can't be filled
    await asyncio.sleep(0.5)
    (newest,) = await load.site.fetch(NEWEST)
    nids = await nids_after(load.site, kept_nid)
    await asyncio.to_thread(postgres.stop)
    await asyncio.sleep(0.5)  # answers that are on their way
    events = frozenset(load.known() - kept)
    assert len(events) > 10
    return Lost(events=events, account=account, room_id=room_id, position=newest["position"], nids=nids)


async def nids_after(site: Site, nid: int) -> dict[int, str]:
    """The events with nids above this one."""
    return {row["nid"]: row["event_id"] for row in await site.fetch(EVENTS_AFTER, nid)}


async def check_nothing_is_reused(site: Site, kept: tuple[int, int], lost: Lost) -> None:
    """Positions since the restore are above all that were given out before. No nid names another event than before; a
    process that runs on may still use one that it had taken for an event that was not stored yet."""
    (oldest,) = await site.fetch(OLDEST_AFTER, kept[0])
    assert oldest["position"] > lost.position + CLEARLY_ABOVE
    now = await nids_after(site, kept[1])
    reused = [nid for nid, event_id in lost.nids.items() if now.get(nid, event_id) != event_id]
    assert not reused
    assert max(now) > max(lost.nids) + CLEARLY_ABOVE


async def check_what_is_gone(load: Load, lost: Lost) -> None:
    """An account and a room of the lost future are unknown, and that is all."""
    status, answer = await load.api.request(lost.account.token, "GET", "/account/whoami")
    assert (status, answer["errcode"]) == (401, "M_UNKNOWN_TOKEN")
    token = load.senders[0].token
    path = f"/rooms/{quote(lost.room_id)}/send/org.example.note/x"
    status, answer = await load.api.request(token, "PUT", path, {})
    assert (status, answer["errcode"]) in ((403, "M_FORBIDDEN"), (404, "M_NOT_FOUND"))
    status, _ = await load.api.request(token, "GET", f"/rooms/{quote(load.rooms[0])}/event/{min(lost.events)}")
    assert status == 404


@pytest.mark.parametrize(("keep_running", "worker_count"), WAYS.values(), ids=list(WAYS))
async def test_old_tokens_get_all_that_comes_after_a_restore(
    postgres: EmbeddedPostgres, keep_running: bool, worker_count: int
) -> None:
    dsn = await postgres.provision_tenant("hospital")
    folder, backup = postgres.folder.parent.parent, postgres.folder.parent.parent / "backup"
    async with run_site(folder, worker_count=worker_count, dsn=dsn) as site, load_on(site) as load:
        load.start()
        await asyncio.sleep(1)
        await load.stop()
        kept = {event_id for room_id in load.rooms for event_id in await load.room_order(room_id)}
        (newest,) = await site.fetch(NEWEST)
        await asyncio.to_thread(postgres.stop)
        await asyncio.to_thread(copy_data, postgres.data_folder, backup)
        await asyncio.to_thread(postgres.start)

        load.start()
        lost = await live_and_lose(load, postgres, kept, newest["nid"])
        if not keep_running:
            await site.kill()
        await asyncio.to_thread(copy_data, backup, postgres.data_folder)
        load.forget(lost.events)
        await asyncio.to_thread(postgres.start)
        if not keep_running:
            await site.start()

        await site.wait_until_ready()
        await asyncio.sleep(1)
        unavailable = load.api.unavailable
        await asyncio.sleep(1)
        await load.repeat_recent()
        await load.stop()
        assert load.api.unavailable == unavailable
        await load.judge(lost.events)
        await check_nothing_is_reused(site, (newest["position"], newest["nid"]), lost)
        await check_what_is_gone(load, lost)
        newcomer = await load.api.register("newcomer")
        assert await newcomer.send(await newcomer.create_room(), "one")
        print(f"\n{len(lost.events)} events lost by the restore: {load.figures()}")
