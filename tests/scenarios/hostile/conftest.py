"""What tests of hostile servers share: a hospital in a room with a peer that a test plays, and honest people beside."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.people import Person
from tests.shared_rooms import SharedRoom, share_room
from tests.table_dump import Tables, open_tables

A, B, PEER = "a.example", "b.example", "peer.example"
V1 = "/_matrix/federation/v1"


@pytest.fixture(scope="module")
async def honest(neighbourhood: Neighbourhood) -> tuple[Person, Person, str]:
    """Alice and Bob, who talk across two hospitals."""
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    room_id = await alice.create_room()
    await bob.join(room_id, A)
    return alice, bob, room_id


@pytest.fixture(autouse=True)
def impatient(neighbourhood: Neighbourhood) -> None:
    """Events that wait for others are tried again soon."""
    waiting = neighbourhood.a.process.homeservers[0].homeserver.transaction_receiver.pdus.waiting
    waiting.options = replace(waiting.options, pause_s=0.2)


@pytest.fixture
async def room(neighbourhood: Neighbourhood, honest: tuple[Person, Person, str]) -> AsyncIterator[SharedRoom]:
    """A room of the hospital that the peer is in. Whatever a test does in it, afterwards the room takes what is as it
    should be, and what honest people say elsewhere arrives."""
    neighbourhood.peer.requests.clear()
    neighbourhood.peer.answers["PUT", f"{V1}/send/*"] = {"pdus": {}}
    room = await share_room(neighbourhood.a, neighbourhood.peer)
    assert await room.push() == {}
    yield room
    alice, bob, room_id = honest
    said = await alice.say(room_id, "how is he?")
    await eventually(lambda: seen_by(bob, room_id), lambda seen: said in seen)
    room.fork = await room.fork_here()
    good = room.message("still here")
    assert (await room.push(good))[good.event_id] == {}
    assert (await room.seen())[-1] == good.event_id


@pytest.fixture(scope="module")
async def tables(neighbourhood: Neighbourhood) -> AsyncIterator[Tables]:
    async with open_tables(neighbourhood.a.process.homeservers[0].store.database.options.dsn) as tables:
        yield tables


async def seen_by(person: Person, room_id: str) -> list[str]:
    """The newest events that somebody is told of."""
    sync = await person.sync_now()
    return [event["event_id"] for event in sync["rooms"]["join"][room_id]["timeline"]["events"]]
