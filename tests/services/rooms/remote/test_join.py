"""Joining rooms of another server, which a test plays itself: what is asked, checked, stored and shown."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Neighbourhood
from tests.peer_room import PeerRoom
from tests.people import Person


async def join(person: Person, room: PeerRoom, *via: str) -> str:
    """Join through these servers, by default the peer."""
    query = "&".join(f"via={server}" for server in via or ("peer.example",))
    return str((await person.post(f"join/{quote(room.room_id)}?{query}"))["room_id"])


async def joined_room(person: Person, room: PeerRoom, since: str | None = None) -> dict[str, Any]:
    """What sync tells of the room."""
    answer = await person.get("sync", since=since, timeout=0)
    return dict(answer["rooms"]["join"][room.room_id])


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
async def test_a_room_of_each_version_is_joined_and_shown(neighbourhood: Neighbourhood, version: str) -> None:
    room = PeerRoom.create(neighbourhood.peer.author, version)
    nurse = room.join("@nurse:peer.example")
    room.say("before anybody came")
    room.serve(neighbourhood.peer)
    alice = await neighbourhood.a.person()
    since = (await alice.get("sync", timeout=0))["next_batch"]
    assert await join(alice, room) == room.room_id
    (event,) = room.joins
    assert (event.sender, event.content["membership"]) == (alice.user_id, "join")
    told = await joined_room(alice, room, since)
    assert [each["event_id"] for each in told["timeline"]["events"]] == [event.event_id]
    assert told["timeline"]["limited"]
    keys = {(each["type"], each["state_key"]) for each in told["state"]["events"]}
    assert keys >= room.state.keys() - {("m.room.member", alice.user_id)}
    members = await alice.get(f"rooms/{room.room_id}/joined_members")
    assert members["joined"].keys() == {room.creator, nurse.sender, alice.user_id}
    await alice.say(room.room_id, "hello")
