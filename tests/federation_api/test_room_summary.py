"""Summaries of rooms that this server is not in, as others tell of them."""

from typing import Any
from urllib.parse import quote

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.people import Person

SUMMARY = "/_matrix/client/v1/room_summary"
HIERARCHY = "/_matrix/federation/v1/hierarchy"
ROOM = "!ward:peer.example"


async def summary(person: Person, room: str, **query: Any) -> Any:
    return await person.get(f"{SUMMARY}/{quote(room)}", **query)


def told(**more: Any) -> dict[str, Any]:
    """What the peer says of the room."""
    room = {"room_id": ROOM, "num_joined_members": 3, "world_readable": False, "guest_can_join": False, **more}
    return {"room": {**room, "children_state": []}, "children": [], "inaccessible_children": []}


@pytest.fixture
def answers(neighbourhood: Neighbourhood) -> dict[tuple[str, str], Any]:
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()
    parts = neighbourhood.a.process.homeservers[0].homeserver.room_summaries
    parts.remote.known._asked.clear()
    return neighbourhood.peer.answers


async def test_a_room_of_another_hospital_by_id_through_a_server_and_by_alias(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    room_id = await bob.create_room(preset="public_chat", name="Ward", room_alias_name="ward", room_version="12")
    expected = {
        "room_id": room_id,
        "name": "Ward",
        "canonical_alias": "#ward:b.example",
        "num_joined_members": 1,
        "world_readable": False,
        "guest_can_join": False,
        "join_rule": "public",
        "room_version": "12",
        "membership": "leave",
    }
    assert await alice.get(f"{SUMMARY}/{quote(room_id)}?via=a.example&via=b.example") == expected
    assert await summary(alice, "#ward:b.example") == expected
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{quote(room_id)}")


async def test_a_room_that_our_users_may_not_find_is_not_there(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    room_id = await bob.create_room(preset="private_chat", room_version="11")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{quote(room_id)}?via=b.example")
    await bob.post(f"rooms/{room_id}/invite", {"user_id": alice.user_id})
    assert (await summary(alice, room_id, via="b.example"))["membership"] == "invite"


async def test_it_is_asked_for_once_and_filtered_for_each_user(neighbourhood: Neighbourhood, answers: Any) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.a.person()
    staff = await alice.create_room()
    answers["GET", f"{HIERARCHY}/{ROOM}"] = told(join_rule="restricted", allowed_room_ids=[staff], room_version="11")
    assert (await summary(alice, ROOM))["allowed_room_ids"] == [staff]
    await bob.refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{quote(ROOM)}")
    assert len(neighbourhood.peer.asked(HIERARCHY)) == 1


async def test_what_an_older_server_does_not_say_is_not_made_up(neighbourhood: Neighbourhood, answers: Any) -> None:
    answers["GET", f"{HIERARCHY}/{ROOM}"] = told()
    found = await summary(await neighbourhood.a.person(), ROOM)
    assert not found.keys() & {"room_version", "name", "encryption", "allowed_room_ids"}
    assert (found["join_rule"], found["num_joined_members"]) == ("public", 3)


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=404),
        web.Response(status=500, text="no"),
        {},
        {"room": 7},
        {"room": {"room_id": "!other:peer.example", "join_rule": "public", "children_state": []}},
        {"room": {"room_id": ROOM, "join_rule": "invite", "num_joined_members": "many"}},
    ],
)
async def test_what_is_no_summary_of_the_room_is_not_found(
    neighbourhood: Neighbourhood, answers: Any, answer: Any
) -> None:
    answers["GET", f"{HIERARCHY}/{ROOM}"] = answer
    await (await neighbourhood.a.person()).refused(404, "M_NOT_FOUND", "GET", f"{SUMMARY}/{quote(ROOM)}")
