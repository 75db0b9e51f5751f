"""Rooms over a real store, and readers of their events."""

from collections.abc import AsyncIterator

import pytest

from tests.services.rooms import conftest as room_fixtures
from tests.services.rooms.conftest import SERVER, Rooms, make_rooms
from tim_server.matrix.events.build import Author
from tim_server.services.events.visibility import EventVisibility
from tim_server.storage.store import Store

author = room_fixtures.author


@pytest.fixture
async def rooms(store: Store, author: Author) -> AsyncIterator[Rooms]:
    """Rooms over the module's store."""
    rooms = make_rooms(store, author)
    yield rooms
    await rooms.queues.close()


@pytest.fixture
def visibility(store: Store) -> EventVisibility:
    """The service, which remembers nothing yet."""
    return EventVisibility(server_name=SERVER, codec=store.codec, snapshots=store.snapshots)
