"""History from before a join: fetched from the servers in the room when somebody reads as far."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.peer_history import PeerHistory
from tests.peer_room import PeerRoom
from tests.people import Person
from tim_server.services.rooms.remote.backfill import Backfill

VISIBILITY = "m.room.history_visibility"


@pytest.fixture(scope="module")
def backfill(neighbourhood: Neighbourhood) -> Backfill:
    """What fetches history, which here tries again soon."""
    backfill = neighbourhood.a.process.homeservers[0].homeserver.room_history.backfill
    backfill.options = replace(backfill.options, pause_s=0.05)
    return backfill


@pytest.fixture
async def alice(neighbourhood: Neighbourhood, backfill: Backfill) -> Person:
    return await neighbourhood.a.person()


def room_of_peer(neighbourhood: Neighbourhood, version: str = "11", **power: Any) -> tuple[PeerRoom, PeerHistory]:
    """A room that the peer serves, with its history."""
    peer = neighbourhood.peer
    peer.requests.clear()
    room = PeerRoom.create(peer.author, version, **power)
    room.serve(peer)
    history = PeerHistory(room)
    history.serve(peer)
    return room, history


async def join(person: Person, room: PeerRoom) -> None:
    await person.post(f"join/{room.room_id}", via="peer.example")


async def scroll(person: Person, room: PeerRoom, *, pages: int = 50, **query: Any) -> list[dict[str, Any]]:
    """All events back to where there are no more, newest first, from where a sync began."""
    sync = await person.get("sync")
    timeline = sync["rooms"]["join"][room.room_id]["timeline"]
    events, start = timeline["events"][::-1], timeline["prev_batch"]
    for _ in range(pages):
        page = await person.history(room.room_id, from_=start, **query)
        events += page["chunk"]
        if page.get("end") in (None, start):
            return events
        start = page["end"]
    raise AssertionError("the history does not end")


def ids(events: list[dict[str, Any]]) -> list[str]:
    return [event["event_id"] for event in events]


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_history_from_before_the_join_goes_back_to_the_creation(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    room, _ = room_of_peer(neighbourhood, version)
    for number in range(15):
        room.say(f"{number}")
    await join(alice, room)
    room.say("after")
    events = await scroll(alice, room, limit=6)
    assert ids(events) == [*room.events][-2::-1]
    assert events[-1]["type"] == "m.room.create"
    assert len(neighbourhood.peer.asked("/_matrix/federation/v1/backfill/")) == 1


async def test_a_long_history_is_fetched_as_far_as_one_reads(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, history = room_of_peer(neighbourhood)
    history.limit_max = 20
    for number in range(70):
        room.say(f"{number}")
    await join(alice, room)
    sync = await alice.get("sync")
    start = sync["rooms"]["join"][room.room_id]["timeline"]["prev_batch"]
    page = await alice.history(room.room_id, from_=start, limit=10)
    assert [event["content"]["body"] for event in page["chunk"]] == [f"{number}" for number in range(69, 59, -1)]
    assert len(neighbourhood.peer.asked("/_matrix/federation/v1/backfill/")) <= 2
    assert ids(await scroll(alice, room, limit=50)) == [*room.events][::-1]


async def test_what_is_fetched_is_there_for_the_next_reader(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = room_of_peer(neighbourhood)
    room.say("Hello")
    await join(alice, room)
    bob = await neighbourhood.a.person()
    first = await scroll(alice, room)
    neighbourhood.peer.requests.clear()
    await bob.join(room.room_id)
    assert ids(await scroll(bob, room))[-len(first) :] == ids(first)
    assert not neighbourhood.peer.asked("/_matrix/federation/v1/backfill/")


@pytest.mark.parametrize(
    ("setting", "seen"),
    [
        ("world_readable", ["while away", "invited", "before"]),
        ("shared", ["while away", "invited", "before"]),
        ("invited", ["invited"]),
        ("joined", []),
    ],
)
async def test_history_visibility_holds_for_what_is_fetched(
    neighbourhood: Neighbourhood, alice: Person, setting: str, seen: list[str]
) -> None:
    """The membership that counts is that in the state at the event, which is not known here otherwise."""
    room, _ = room_of_peer(neighbourhood)
    room.add(VISIBILITY, {"history_visibility": setting}, state_key="")
    room.say("before")
    room.member(alice.user_id, "invite")
    room.say("invited")
    room.member(alice.user_id, "leave")
    room.say("while away")
    await join(alice, room)
    events = await scroll(alice, room)
    texts = [event["content"]["body"] for event in events if event["type"] == "m.room.message"]
    assert texts == seen


async def test_members_are_told_as_they_were(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = room_of_peer(neighbourhood)
    nurse = "@nurse:peer.example"
    named = room.add("m.room.member", {"membership": "join", "displayname": "Nurse"}, sender=nurse, state_key=nurse)
    said = room.say("Hello", sender=nurse)
    room.add("m.room.member", {"membership": "join", "displayname": "Matron"}, sender=nurse, state_key=nurse)
    await join(alice, room)
    sync = await alice.get("sync")
    start = sync["rooms"]["join"][room.room_id]["timeline"]["prev_batch"]
    lazy = '{"lazy_load_members":true}'
    page = await alice.history(room.room_id, from_=start, limit=1)
    page = await alice.history(room.room_id, from_=page["end"], limit=1, filter=lazy)
    assert ids(page["chunk"]) == [said.event_id]
    assert ids(page["state"]) == [named.event_id]


async def test_redactions_and_relations_in_what_is_fetched_count(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = room_of_peer(neighbourhood)
    secret = room.say("secret")
    root = room.say("root")
    relation = {"rel_type": "m.thread", "event_id": root.event_id}
    reply = room.add("m.room.message", {"msgtype": "m.text", "body": "reply", "m.relates_to": relation})
    room.add("m.room.redaction", {"redacts": secret.event_id})
    await join(alice, room)
    by_id = {event["event_id"]: event for event in await scroll(alice, room)}
    assert by_id[secret.event_id]["content"] == {}
    assert by_id[secret.event_id]["unsigned"]["redacted_because"]["content"]["redacts"] == secret.event_id
    threads = await alice.get(f"/_matrix/client/v1/rooms/{room.room_id}/threads")
    assert ids(threads["chunk"]) == [root.event_id]
    children = await alice.get(f"/_matrix/client/v1/rooms/{room.room_id}/relations/{root.event_id}")
    assert ids(children["chunk"]) == [reply.event_id]


async def test_context_of_an_event_that_was_fetched(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = room_of_peer(neighbourhood)
    first, middle, last = room.say("first"), room.say("middle"), room.say("last")
    await join(alice, room)
    await scroll(alice, room)
    context = await alice.get(f"rooms/{room.room_id}/context/{middle.event_id}", limit=2)
    assert (ids(context["events_before"]), ids(context["events_after"])) == ([first.event_id], [last.event_id])
    assert {event["type"] for event in context["state"]} >= {"m.room.create", "m.room.member", VISIBILITY}
    on = await alice.history(room.room_id, dir="f", from_=context["end"], limit=1)
    assert ids(on["chunk"]) == [room.joins[0].event_id]


async def test_two_branches_are_both_told(neighbourhood: Neighbourhood, alice: Person) -> None:
    room, _ = room_of_peer(neighbourhood)
    base, depth = room.prev, room.depth
    left = room.say("left")
    room.prev, room.depth = base, depth
    right = room.say("right")
    room.prev = (left.event_id, right.event_id)
    room.say("joined")
    await join(alice, room)
    assert {left.event_id, right.event_id} <= {*ids(await scroll(alice, room))}


async def test_while_nobody_helps_a_page_ends_at_the_hole_and_can_be_tried_again(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room, _ = room_of_peer(neighbourhood)
    for number in range(3):
        room.say(f"{number}")
    await join(alice, room)
    sync = await alice.get("sync")
    start = sync["rooms"]["join"][room.room_id]["timeline"]["prev_batch"]
    path = ("GET", f"/_matrix/federation/v1/backfill/{room.room_id}")
    answer = neighbourhood.peer.answers.pop(path)
    page = await alice.history(room.room_id, from_=start)
    assert (page["chunk"], page["end"]) == ([], start)
    neighbourhood.peer.answers[path] = answer
    await asyncio.sleep(0.2)
    page = await alice.history(room.room_id, from_=start)
    assert page["chunk"][0]["content"]["body"] == "2"


async def test_reading_forward_begins_with_what_is_here_and_ends_at_a_hole(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room, _ = room_of_peer(neighbourhood)
    room.say("before")
    await join(alice, room)
    joined = room.joins[0].event_id
    page = await alice.history(room.room_id, dir="f")
    assert ids(page["chunk"]) == [joined]
    await scroll(alice, room)
    page = await alice.history(room.room_id, dir="f", limit=100)
    assert ids(page["chunk"]) == [*room.events]
