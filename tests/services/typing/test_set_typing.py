"""Typing over time and over several processes."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.account_services import Clock
from tests.services.rooms import conftest as room_fixtures
from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.typing.set_typing import SWEEP_GRACE_MS, Typing
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.memberships import find_room_for_user
from tim_server.storage.store import Store, open_store
from tim_server.storage.typing import TYPING, load_typing, reap

author, rooms = room_fixtures.author, room_fixtures.rooms


def make_typing(store: Store, clock: Clock) -> Typing:
    """The service as a process has it."""
    typing = Typing(database=store.database, writer=store.writer, now_ms=clock)
    store.commit_log.subscribe(typing.follow)
    return typing


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def here(store: Store, clock: Clock) -> AsyncIterator[Typing]:
    typing = make_typing(store, clock)
    yield typing
    await typing.close()


@pytest.fixture
async def there(tenant_dsn: str, clock: Clock) -> AsyncIterator[Typing]:
    """Another process."""
    store = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    typing = make_typing(store, clock)
    yield typing
    await typing.close()
    await store.close()


async def begin(typing: Typing, room_id: RoomId, user_id: UserId = ALICE, timeout_ms: int = 20_000) -> None:
    requester = Requester(user_id=user_id, device_id="DEVICE", token_id=1)
    await typing.begin(requester, user_id, room_id, timeout_ms)


async def typing_in(store: Store, room_id: RoomId) -> tuple[UserId, ...]:
    """Who types, as readers see it."""
    async with store.database.connection() as connection:
        room = await find_room_for_user(connection, room_id, ALICE)
        assert room is not None
        return (await load_typing(connection, [room.room_nid]))[room.room_nid]


async def test_who_began_first_stands_first(here: Typing, rooms: Rooms, store: Store) -> None:
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    await begin(here, room_id, BOB)
    await begin(here, room_id, ALICE)
    await begin(here, room_id, BOB)
    assert await typing_in(store, room_id) == (BOB, ALICE)


async def test_what_a_process_that_died_began_is_ended_by_another(
    here: Typing, there: Typing, rooms: Rooms, store: Store, clock: Clock
) -> None:
    room_id = await rooms.create()
    await begin(there, room_id, timeout_ms=10_000)
    await there.close()
    await store.follower.catch_up()
    clock.advance(10_000 + SWEEP_GRACE_MS - 1)
    await here.sweep()
    assert await typing_in(store, room_id) == (ALICE,)
    clock.advance(1)
    position = store.commit_log.position
    await here.sweep()
    assert await typing_in(store, room_id) == ()
    entries = store.commit_log.since(position)
    assert entries is not None
    assert [fact.stream for entry in entries for facts in entry.facts.values() for fact in facts] == [TYPING]


async def test_the_end_elsewhere_is_not_reached_when_it_was_prolonged_here(
    here: Typing, there: Typing, rooms: Rooms, store: Store, clock: Clock
) -> None:
    room_id = await rooms.create()
    await begin(there, room_id, timeout_ms=500)
    await begin(here, room_id, timeout_ms=20_000)
    await asyncio.sleep(0.7)
    assert not there._timers
    assert await typing_in(store, room_id) == (ALICE,)


async def test_nobody_is_asked_while_nobody_types(here: Typing, rooms: Rooms, store: Store, clock: Clock) -> None:
    async with store.database.transaction() as tx:
        await tx.execute("TRUNCATE typing")
    await here.sweep()
    assert not here._may_be_left
    await begin(here, await rooms.create())
    assert here._may_be_left


async def test_old_changes_are_reaped(here: Typing, rooms: Rooms, store: Store) -> None:
    room_id = await rooms.create()
    await begin(here, room_id)
    requester = Requester(user_id=ALICE, device_id="DEVICE", token_id=1)
    await here.end(requester, ALICE, room_id)
    async with store.database.transaction() as tx:
        await reap(tx)  # the test's clock stands in the past
        assert await tx.fetchval("SELECT count(*) FROM typing WHERE NOT is_typing") == 0


@pytest.mark.parametrize("by_user", [True, False])
async def test_a_crash_of_postgresql_leaves_nobody_typing_for_ever(
    here: Typing, rooms: Rooms, store: Store, by_user: bool
) -> None:
    room_id = await rooms.create()
    await begin(here, room_id, timeout_ms=20_000 if by_user else 500)
    async with store.database.transaction() as tx:
        await tx.execute("TRUNCATE typing")
    before = store.commit_log.position
    if by_user:
        await here.end(Requester(user_id=ALICE, device_id="DEVICE", token_id=1), ALICE, room_id)
    async with asyncio.timeout(5):
        while store.commit_log.position == before:
            await store.commit_log.advanced()
    (entry,) = store.commit_log.since(before) or ()
    assert [fact.stream for of_room in entry.facts.values() for fact in of_room] == [TYPING]
    assert await typing_in(store, room_id) == ()
