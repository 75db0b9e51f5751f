"""What servers send of a room while this one is about to come into it."""

from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.peer import Asked
from tests.peer_history import PeerHistory
from tests.peer_room import FEDERATION, PeerRoom
from tests.people import Person
from tests.shared_rooms import push
from tim_server.storage.waiting_pdus import count_waiting


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


async def test_what_is_sent_while_a_join_is_under_way_is_not_lost(neighbourhood: Neighbourhood, alice: Person) -> None:
    """The servers in the room send it once: as soon as one of them has taken the join."""
    room, peer = PeerRoom.create(neighbourhood.peer.author), neighbourhood.peer
    room.serve(peer)
    PeerHistory(room).serve(peer)

    async def send_join(asked: Asked) -> Any:
        answer = room.let_in(room.read(asked.json))
        welcome = room.say("welcome")
        assert await push(peer, "a.example", welcome) == {welcome.event_id: {}}
        return answer

    peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"] = send_join
    await alice.join(room.room_id, peer.name)
    await eventually(lambda: alice.bodies(room.room_id), lambda bodies: "welcome" in bodies)
    joins = neighbourhood.a.process.homeservers[0].homeserver.room_join.remote.under_way
    assert not await joins.is_under_way(room.room_id)


async def test_a_join_that_fails_leaves_nothing_that_waits_for_ever(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room, peer = PeerRoom.create(neighbourhood.peer.author), neighbourhood.peer
    room.serve(peer)
    said = room.say("to those who come")
    remote = neighbourhood.a.process.homeservers[0].homeserver.room_join.remote
    store = remote.known_rooms.store
    refusal = web.json_response({"errcode": "M_FORBIDDEN", "error": "no"}, status=403)

    async def send_join(asked: Asked) -> Any:
        assert await push(peer, "a.example", said) == {said.event_id: {}}
        return refusal

    peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"] = send_join
    peer.answers["PUT", f"{FEDERATION}/v1/send_join/{room.room_id}/*"] = refusal
    await alice.refused(403, "M_FORBIDDEN", "POST", f"join/{room.room_id}?via={peer.name}", {})
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE joins_under_way SET until_ts = 0")
    head = await remote.known_rooms.heads.get(room.room_id)
    assert head is not None

    async def look_again() -> int:
        await remote.under_way.succeeded(head.nid)
        async with store.database.connection() as connection:
            return await count_waiting(connection)

    await eventually(look_again, lambda count: count == 0)
    assert (await push(peer, "a.example", said))[said.event_id].keys() == {"error"}
