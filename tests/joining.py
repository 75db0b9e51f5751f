"""Joins of rooms that a peer holds, which a test plays itself."""

from typing import Any

from tests.conftest import Neighbourhood
from tests.peer_room import PeerRoom
from tests.people import Person

PEER, NURSE = "peer.example", "@nurse:peer.example"


def served_room(neighbourhood: Neighbourhood, version: str = "11", **options: Any) -> PeerRoom:
    """A room of the peer's with a nurse in it."""
    room = PeerRoom.create(neighbourhood.peer.author, version, **options)
    room.join(NURSE)
    room.serve(neighbourhood.peer)
    return room


async def refused(person: Person, room: PeerRoom, status: int = 502, errcode: str = "M_UNKNOWN") -> None:
    """A join that must fail like this, and leave nothing that anybody could see."""
    await person.refused(status, errcode, "POST", f"join/{room.room_id}?via={PEER}", {})
    assert room.room_id not in (await person.get("sync")).get("rooms", {}).get("join", {})
    assert (await person.request("GET", f"rooms/{room.room_id}/state"))[0] in (403, 404)
