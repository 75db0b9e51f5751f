"""What tests of missing events share: a hospital in a room of the peer's, which sends it what stands on others."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.peer import Peer
from tests.peer_history import V1, PeerHistory
from tests.peer_room import PeerRoom
from tests.people import Person
from tests.shared_rooms import push
from tim_server.matrix.events.record import Event
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.remote.waiting_events import WaitingEvents
from tim_server.storage.events import EventRow, load_events_by_id
from tim_server.storage.store import Store
from tim_server.storage.waiting_pdus import count_waiting


@dataclass(repr=False)
class Gap:
    """A room of the peer's that Alice is in. `lose` makes events that are not sent, `send` has some sent."""

    neighbourhood: Neighbourhood
    peer: Peer
    alice: Person
    room: PeerRoom
    history: PeerHistory
    waiting: WaitingEvents

    @classmethod
    async def open(cls, neighbourhood: Neighbourhood, version: str = "11", **power: Any) -> "Gap":
        """A new room, which Alice joins."""
        peer = neighbourhood.peer
        room = PeerRoom.create(peer.author, version, **power)
        room.serve(peer)
        history = PeerHistory(room)
        history.serve(peer)
        alice = await neighbourhood.a.person()
        await alice.post(f"join/{room.room_id}", via=peer.name)
        peer.requests.clear()
        server = neighbourhood.a.process.homeservers[0].homeserver
        return cls(neighbourhood, peer, alice, room, history, server.transaction_receiver.pdus.waiting)

    @property
    def store(self) -> Store:
        return self.waiting.store

    def lose(self, count: int, text: str = "lost") -> list[Event]:
        return [self.room.say(f"{text} {number}") for number in range(count)]

    async def send(self, *events: Event | dict[str, Any]) -> dict[str, Any]:
        return await push(self.peer, "a.example", *events)

    async def bodies(self) -> list[str]:
        """What Alice is shown of messages, newest last, as far as it is here."""
        sync = await self.alice.get("sync")
        events = sync["rooms"]["join"][self.room.room_id]["timeline"]["events"]
        return [event["content"].get("body") for event in events if event["type"] == "m.room.message"]

    async def sees(self, *bodies: str) -> list[str]:
        """What Alice is shown, once all of these are."""
        return await eventually(self.bodies, lambda seen: {*bodies} <= {*seen})

    async def nothing_waits(self) -> None:
        """Wait until nothing waits any more."""
        await eventually(self.count, lambda count: count == 0)

    async def count(self) -> int:
        """How many events wait."""
        async with self.store.database.connection() as connection:
            return await count_waiting(connection)

    async def row(self, event: Event) -> EventRow | None:
        async with self.store.database.connection() as connection:
            found = await load_events_by_id(connection, self.store.codec, [event.event_id])
        return found.get(event.event_id)

    async def head(self) -> RoomHead:
        head = await self.waiting.queues.heads.get(self.room.room_id)
        assert head is not None
        return head

    async def fetch(self, event: Event) -> None:
        """Have the hospital store an event of the peer's as an outlier."""
        await self.waiting.missing.fetching.fetch(await self.head(), self.peer.name, [event.event_id])

    def asked(self, operation: str) -> int:
        """How often the peer was asked for something, such as `state_ids`."""
        return len(self.peer.asked(f"{V1}/{operation}/"))


@pytest.fixture(autouse=True)
def impatient(neighbourhood: Neighbourhood) -> Iterator[None]:
    """Events that wait are tried again soon, and nothing is left of one test for the next."""
    server = neighbourhood.a.process.homeservers[0].homeserver
    waiting = server.transaction_receiver.pdus.waiting
    before = waiting.options
    waiting.options = replace(before, pause_s=0.2)
    yield
    waiting.options = before


@pytest.fixture
async def gap(neighbourhood: Neighbourhood) -> Gap:
    return await Gap.open(neighbourhood)
