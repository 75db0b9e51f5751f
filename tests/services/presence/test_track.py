"""Presence over time and over several processes, which share nothing but the database."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from tests.account_services import Clock
from tests.services.rooms import conftest as room_fixtures
from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.presence import OFFLINE, ONLINE, UNAVAILABLE, UserPresence
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.policy import NOTE_INTERVAL_MS, PresencePolicy
from tim_server.services.presence.track import PresenceTracking
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.presence import PRESENCE_STREAM
from tim_server.storage.store import Store, open_store

author, rooms = room_fixtures.author, room_fixtures.rooms
POLICY = PresencePolicy(idle_after_ms=300_000, offline_after_ms=30_000, room_members_max=3)
GONE_MS = POLICY.times.offline_after_ms


@dataclass
class Process:
    """Tracks presence as a process does, but looks after it only when told to."""

    store: Store
    clock: Clock
    tracking: PresenceTracking = field(init=False)
    commits: list[CommitEntry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tracking = PresenceTracking(
            database=self.store.database,
            writer=self.store.writer,
            audience=PresenceAudience(codec=self.store.codec, policy=POLICY),
            now_ms=self.clock,
        )
        self.store.commit_log.subscribe(self.tracking.follow)
        self.store.commit_log.subscribe(self._keep)

    def _keep(self, entry: CommitEntry) -> None:
        if any(PRESENCE_STREAM in streams for streams in entry.users.values()):
            self.commits.append(entry)

    async def settle(self) -> None:
        """Wait until what was heard is settled."""
        while self.tracking._settling is not None:
            await asyncio.shield(self.tracking._settling)

    async def sync(self, user_id: UserId, presence: str = ONLINE, device_id: str = "DEVICE") -> None:
        """A sync that does not wait."""
        with self.tracking.syncing(user_id, device_id, presence):
            await self.settle()

    async def look_after(self) -> None:
        """What is done every few seconds."""
        await self.store.follower.catch_up()
        await self.tracking.look_after()
        await self.settle()

    async def presence(self, user_id: UserId) -> UserPresence:
        """What others are told."""
        async with self.store.database.connection() as connection:
            return (await self.tracking.audience.of_users(connection, [user_id]))[user_id]


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settle at once."""
    monkeypatch.setattr("tim_server.services.presence.track.SETTLE_INTERVAL_S", 0.0)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def here(store: Store, clock: Clock) -> Process:
    async with store.database.transaction() as tx:
        await tx.execute("TRUNCATE presence, presence_devices")
    return Process(store, clock)


@pytest.fixture
async def there(here: Process, tenant_dsn: str, clock: Clock) -> AsyncIterator[Process]:
    """Another process."""
    store = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    yield Process(store, clock)
    await store.close()


async def test_who_does_nothing_is_idle_and_who_is_silent_offline(here: Process, clock: Clock) -> None:
    await here.sync(ALICE)
    began = clock()
    while clock() < began + POLICY.idle_after_ms - 10_000:
        clock.advance(10_000)
        await here.sync(ALICE)
        await here.look_after()
        assert (await here.presence(ALICE)).presence == ONLINE
    clock.advance(10_000)
    await here.sync(ALICE)
    await here.look_after()
    assert (await here.presence(ALICE)).presence == UNAVAILABLE
    clock.advance(GONE_MS - 1)
    await here.look_after()
    assert (await here.presence(ALICE)).presence == UNAVAILABLE
    clock.advance(1)
    await here.look_after()
    assert (await here.presence(ALICE)).presence == OFFLINE
    assert len(here.commits) == 3, "online, unavailable, offline"


async def test_who_waits_for_long_is_there(here: Process, clock: Clock) -> None:
    with here.tracking.syncing(ALICE, "DEVICE", ONLINE):
        for _ in range(10):
            await here.look_after()
            clock.advance(NOTE_INTERVAL_MS)
        await here.look_after()
        assert (await here.presence(ALICE)).presence == ONLINE
    clock.advance(GONE_MS)
    await here.look_after()
    assert (await here.presence(ALICE)).presence == OFFLINE


async def test_a_sync_elsewhere_keeps_a_user_online(here: Process, there: Process, clock: Clock) -> None:
    await here.sync(ALICE)
    for _ in range(10):
        clock.advance(NOTE_INTERVAL_MS)
        await there.sync(ALICE)
        await here.look_after()
    assert (await here.presence(ALICE)).presence == ONLINE
    assert len(here.commits) == 1


async def test_what_a_process_that_died_leaves_is_looked_after(here: Process, there: Process, clock: Clock) -> None:
    await there.sync(ALICE)
    await here.look_after()
    clock.advance(GONE_MS)
    await here.look_after()
    assert (await here.presence(ALICE)).presence == OFFLINE


async def test_a_device_that_moves_between_processes_has_not_changed_its_mind(here: Process, there: Process) -> None:
    await here.sync(ALICE)
    await here.tracking.set(ALICE, UNAVAILABLE, "in surgery")
    await there.sync(ALICE)
    known = await here.presence(ALICE)
    assert (known.presence, known.status_msg) == (UNAVAILABLE, "in surgery")
    await there.sync(ALICE, UNAVAILABLE)
    await here.sync(ALICE, ONLINE, "DEVICE")  # noted a moment ago, so that it is not noted again
    assert (await here.presence(ALICE)).presence == UNAVAILABLE


async def test_a_device_in_use_elsewhere_counts(here: Process, there: Process, clock: Clock) -> None:
    await here.sync(ALICE, ONLINE, "DESK")
    await there.sync(ALICE, ONLINE, "POCKET")
    clock.advance(NOTE_INTERVAL_MS)
    await there.sync(ALICE, UNAVAILABLE, "POCKET")
    assert (await here.presence(ALICE)).presence == ONLINE
    await here.sync(ALICE, UNAVAILABLE, "DESK")
    assert (await here.presence(ALICE)).presence == UNAVAILABLE


async def test_what_is_decided_elsewhere_meanwhile_is_not_undone(here: Process, there: Process, clock: Clock) -> None:
    await here.sync(ALICE)
    clock.advance(GONE_MS)
    await asyncio.gather(here.look_after(), there.sync(ALICE))
    await there.look_after()
    await there.sync(ALICE)
    assert (await here.presence(ALICE)).presence == ONLINE


async def test_who_writes_is_active_where_they_sync(here: Process, there: Process, rooms: Rooms, clock: Clock) -> None:
    room_id = await rooms.create()
    with here.tracking.syncing(ALICE, "DEVICE", ONLINE):
        await here.settle()
        for _ in range(30):
            clock.advance(NOTE_INTERVAL_MS)
            await rooms.send(room_id, ALICE)
            await here.look_after()
        assert await here.presence(ALICE) == UserPresence(user_id=ALICE, presence=ONLINE, last_active_ts=clock())
        await here.tracking.set(ALICE, UNAVAILABLE, None)
        await here.store.follower.catch_up()
        await rooms.send(room_id, ALICE)
        await here.settle()
        assert (await here.presence(ALICE)).presence == ONLINE
    assert len(here.commits) == 3
    assert not there.tracking._heard


async def test_who_never_syncs_is_not_there(here: Process, rooms: Rooms) -> None:
    await rooms.send(await rooms.create(), ALICE)
    await here.settle()
    assert await here.presence(ALICE) == UserPresence(user_id=ALICE)


async def test_many_changes_are_one_commit_which_names_small_rooms(
    here: Process, rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tim_server.services.presence.track.SETTLE_INTERVAL_S", 0.05)
    small, large = await rooms.create(), await rooms.create()
    await rooms.member(small, BOB, "join")
    for name in ("bob", "carol", "dave"):
        await rooms.member(large, UserId(f"@{name}:hospital.example"), "join")
    await here.tracking.set(UserId("@zoe:hospital.example"), ONLINE, None)
    before = len(here.commits)
    await asyncio.gather(*(here.tracking.set(user_id, ONLINE, None) for user_id in (ALICE, BOB)))
    (entry,) = here.commits[before:]
    assert entry.users.keys() == {ALICE, BOB}
    by_room = {room_nid: facts[0].value for room_nid, facts in entry.facts.items()}
    async with here.store.database.connection() as connection:
        nids = dict(await connection.fetch("SELECT room_id, nid FROM rooms"))
    assert set(by_room[nids[small]]) == {ALICE, BOB}
    assert nids[large] not in by_room


async def test_nobody_is_asked_while_nobody_is_there(here: Process, clock: Clock) -> None:
    await here.look_after()
    assert not here.tracking._may_be_due
    await here.sync(ALICE)
    assert here.tracking._may_be_due
    clock.advance(GONE_MS)
    await here.look_after()
    await here.look_after()
    assert (await here.presence(ALICE)).presence == OFFLINE
    assert not here.tracking._may_be_due


async def test_what_was_remembered_of_devices_goes(here: Process, clock: Clock) -> None:
    await here.sync(ALICE)
    clock.advance(10 * NOTE_INTERVAL_MS)
    await here.look_after()
    assert not here.tracking._noted
    assert not here.tracking._waiting
    assert not here.tracking._bumped
