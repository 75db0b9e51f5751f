"""Syncs without HTTP: rooms over a real store, and devices that sync."""

import time
from collections.abc import AsyncIterator, Callable

import pytest

from tests.services.rooms import conftest as room_fixtures
from tests.services.rooms.conftest import SERVER, Rooms, make_rooms
from tests.services.sync.device import Device
from tim_server.app.push import make_counts
from tim_server.app.sync import KeptOfUsers, make_sync
from tim_server.matrix.events.build import Author
from tim_server.matrix.identifiers import UserId
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.visibility import EventVisibility
from tim_server.services.filters.define import FilterPolicy, Filters
from tim_server.services.presence.audience import PresenceAudience
from tim_server.services.presence.policy import PresencePolicy
from tim_server.services.presence.track import PresenceTracking
from tim_server.services.push_rules.known import KnownRules
from tim_server.services.sync.request import SyncOptions
from tim_server.services.sync.sync import Sync
from tim_server.storage.store import Store

MakeDevice = Callable[..., Device]
author = room_fixtures.author


@pytest.fixture
async def rooms(store: Store, author: Author) -> AsyncIterator[Rooms]:
    """Rooms over the module's store."""
    rooms = make_rooms(store, author)
    yield rooms
    await rooms.queues.close()


NO_PRESENCE = PresencePolicy(enabled=False)


def build_sync(store: Store, options: SyncOptions | None = None, policy: PresencePolicy = NO_PRESENCE) -> Sync:
    """A sync service over the store, wired as the server does."""
    visibility = EventVisibility(server_name=SERVER, codec=store.codec, snapshots=store.snapshots)
    client_events = ClientEvents(codec=store.codec, visibility=visibility, now_ms=lambda: time.time_ns() // 1_000_000)
    filters = Filters(database=store.database, policy=FilterPolicy())
    presence = PresenceTracking(
        database=store.database,
        writer=store.writer,
        audience=PresenceAudience(codec=store.codec, policy=policy),
        now_ms=client_events.now_ms,
    )
    rules = KnownRules(database=store.database, codec=store.codec)
    store.commit_log.subscribe(rules.follow)
    kept = KeptOfUsers(presence=presence, counts=make_counts(store, rules))
    return make_sync(store, client_events, filters, kept, options or SyncOptions())


@pytest.fixture
async def sync(store: Store) -> AsyncIterator[Sync]:
    """The service with its defaults."""
    sync = build_sync(store)
    yield sync
    await sync.close()


@pytest.fixture
def device(sync: Sync) -> MakeDevice:
    """Make a device of a user: `device(ALICE)`, with a filter or state_after where wanted."""

    def make(user_id: UserId, **options: object) -> Device:
        return Device(sync=options.pop("sync", sync), user_id=user_id, **options)  # type: ignore[arg-type]

    return make
