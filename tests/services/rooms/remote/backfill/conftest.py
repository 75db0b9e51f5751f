"""What tests of fetching history share: a hospital that has joined a room of the peer and knows nothing of its past."""

from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.peer_history import PeerHistory
from tests.peer_room import FEDERATION, PeerRoom
from tests.people import Person
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.remote.backfill import Backfill
from tim_server.storage.holes import HoleRow, find_newest_hole
from tim_server.storage.rooms import load_room
from tim_server.storage.store import Store

BACKFILL = f"{FEDERATION}/v1/backfill"


@pytest.fixture(scope="module")
def server(neighbourhood: Neighbourhood) -> Homeserver:
    return neighbourhood.a.process.homeservers[0].homeserver


@pytest.fixture(scope="module")
def store(neighbourhood: Neighbourhood) -> Store:
    return neighbourhood.a.process.homeservers[0].store


@pytest.fixture(autouse=True)
def backfill(server: Homeserver) -> Backfill:
    """What fetches history: here it tries again soon."""
    backfill = server.room_history.backfill
    backfill.options = replace(backfill.options, pause_s=0.05, timeout_s=90.0)
    return backfill


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


class Joined:
    """A room of the peer's that Alice has joined, and how far she can read."""

    def __init__(self, neighbourhood: Neighbourhood, alice: Person, version: str = "11") -> None:
        self.peer, self.alice = neighbourhood.peer, alice
        self.peer.requests.clear()
        self.room = PeerRoom.create(self.peer.author, version)
        self.room.serve(self.peer)
        self.history = PeerHistory(self.room)
        self.history.serve(self.peer)
        self.start = ""

    async def join(self) -> None:
        await self.alice.post(f"join/{self.room.room_id}", via="peer.example")
        sync = await self.alice.get("sync")
        self.start = sync["rooms"]["join"][self.room.room_id]["timeline"]["prev_batch"]

    async def page(self, **query: Any) -> list[str]:
        """Ids of a page from where the join is."""
        page = await self.alice.history(self.room.room_id, from_=self.start, **query)
        return [event["event_id"] for event in page["chunk"]]

    async def texts(self) -> list[str]:
        return await self.alice.bodies(self.room.room_id, from_=self.start, limit=100)

    @property
    def asked(self) -> int:
        return len(self.peer.asked(BACKFILL))


async def hole_of(store: Store, joined: Joined) -> HoleRow:
    """The hole in the room's timeline."""
    async with store.database.read() as tx:
        room = await load_room(tx, joined.room.room_id)
        assert room is not None
        hole = await find_newest_hole(tx, room.nid, after=(0, 0), until=(2**60, 0), failures_max=100)
    assert hole is not None
    return hole


@pytest.fixture
def joined(neighbourhood: Neighbourhood, alice: Person) -> Joined:
    return Joined(neighbourhood, alice)
