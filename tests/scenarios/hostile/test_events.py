"""Events that are not what they say, refer to too much or to themselves: each is dropped or refused as the
specification says, and nothing changes that should not.

Spec: https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu
"""

from collections.abc import Callable
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.peer import make_author
from tests.scenarios.hostile.conftest import PEER, V1
from tests.shared_rooms import SharedRoom, share_room
from tim_server.matrix.events.build import Author
from tim_server.matrix.events.hashes import content_hash
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import sign_event
from tim_server.matrix.identifiers import EventId
from tim_server.storage.waiting_pdus import count_waiting

Pdu = dict[str, Any]


async def state_of(room: SharedRoom) -> set[str]:
    """Ids of the room's state."""
    return {event["event_id"] for event in await room.alice.get(f"rooms/{room.room_id}/state")}


def signed_by(event: Event, author: Author) -> Pdu:
    """The event as another server would have signed it, and nobody else."""
    bare = {key: value for key, value in event.pdu.items() if key != "signatures"}
    return sign_event(bare, event.room_version, author.server_name, author.key)


FORGED: dict[str, Callable[[Event], Pdu]] = {
    "signed with another key of the same name": lambda event: signed_by(event, make_author(PEER, seed=99)),
    "signed by another server": lambda event: signed_by(event, make_author("spare.example")),
    "signed by nobody": lambda event: {**event.pdu, "signatures": {}},
    "signed with a key that there is not": lambda event: {
        **event.pdu,
        "signatures": {PEER: {"ed25519:none": "A" * 86}},
    },
    "signed with thousands of keys": lambda event: {
        **event.pdu,
        "signatures": {PEER: {f"ed25519:{number}": "A" * 86 for number in range(500)}},
    },
    "of a user of the hospital": lambda event: {**event.pdu, "sender": "@alice:a.example"},
    "of a user of a third server": lambda event: {**event.pdu, "sender": "@bob:b.example"},
    "of another type than was signed": lambda event: {**event.pdu, "type": "m.room.encrypted"},
    "for another state_key than was signed": lambda event: {**event.pdu, "state_key": ""},
    "at another place than was signed": lambda event: {**event.pdu, "prev_events": event.pdu["auth_events"]},
    "larger than an event may be": lambda event: {**event.pdu, "content": {"body": "x" * 65_536}},
    "with a depth below zero": lambda event: {**event.pdu, "depth": -1},
    "with a depth beyond 64 bits": lambda event: {**event.pdu, "depth": 2**63},
    "with a depth that is none": lambda event: {**event.pdu, "depth": 1.5},
}


@pytest.mark.parametrize("what", FORGED)
async def test_a_forged_event_is_refused_and_changes_nothing(room: SharedRoom, what: str) -> None:
    pdu = FORGED[what](room.message("forged"))
    before, state = await room.seen(), await state_of(room)
    answer = await room.push(pdu)
    assert all("error" in outcome for outcome in answer.values())  # none is told of what has not even an id
    assert (await room.seen(), await state_of(room)) == (before, state)


async def test_an_event_with_another_content_than_was_hashed_is_taken_redacted(room: SharedRoom) -> None:
    event = room.message("what was signed")
    assert await room.push({**event.pdu, "content": {"msgtype": "m.text", "body": "forged"}}) == {event.event_id: {}}
    assert (await room.timeline())[-1]["event_id"] == event.event_id
    assert (await room.timeline())[-1]["content"] == {}


@pytest.mark.parametrize("version", ["1", "10", "11", "12"])
async def test_nobody_invites_in_the_name_of_somebody_else(neighbourhood: Neighbourhood, version: str) -> None:
    """An invite through a third party need not be signed by the sender's server; what is left of one whose content is
    not what was hashed is an invite like any other."""
    room = await share_room(neighbourhood.a, neighbourhood.peer, version=version)
    eve = f"@eve:{PEER}"
    forged = room.fork.make("m.room.member", {"membership": "invite"}, state_key=eve, sender=room.alice.user_id)
    content = {"membership": "invite", "third_party_invite": "by nobody"}
    answer = await room.push({**forged.pdu, "content": content})
    assert "error" in answer[forged.event_id]
    assert await room.state("m.room.member", eve) is None


async def test_an_event_of_one_room_is_none_of_another(neighbourhood: Neighbourhood, room: SharedRoom) -> None:
    """Its place, and what authorises it, are of a room that the peer is in; its room_id is that of another."""
    other = await share_room(neighbourhood.a, neighbourhood.peer, user="dan")
    own = room.message("own")
    stray = room.fork.make("m.room.message", {"msgtype": "m.text", "body": "stray"}, sender=other.user_id)
    bare = {key: value for key, value in stray.pdu.items() if key not in ("signatures", "hashes")}
    await room.push(own, {**stray.pdu, "room_id": other.room_id}, {**bare, "room_id": other.room_id})
    assert (await room.seen())[-1] == own.event_id
    assert not {event["content"].get("body") for event in await other.timeline()} & {"stray", "own"}


async def test_an_id_that_is_given_twice_is_that_of_the_first_event(neighbourhood: Neighbourhood) -> None:
    """In v1 and v2 servers choose ids, and may choose one that there is already."""
    room = await share_room(neighbourhood.a, neighbourhood.peer, version="1")
    first, second = room.message("first"), room.message("second")
    of_alice = await room.alice.say(room.room_id, "of Alice")
    await room.push(first)
    await room.push(changed(room, second, event_id=first.event_id), changed(room, second, event_id=of_alice))
    told = {event["event_id"]: event["content"].get("body") for event in await room.timeline()}
    assert (told[first.event_id], told[of_alice]) == ("first", "of Alice")
    assert "second" not in told.values()


def changed(room: SharedRoom, event: Event, **fields: Any) -> Pdu:
    """The event with other fields, hashed and signed by the peer as if it had been made so."""
    pdu = {key: value for key, value in event.pdu.items() if key not in ("signatures", "hashes")} | fields
    pdu["hashes"] = {"sha256": content_hash(pdu, event.room_version)}
    return sign_event(pdu, event.room_version, PEER, room.peer.author.key)


# Events that refer to too much, or to themselves


@pytest.mark.parametrize(
    ("key", "count"), [("prev_events", 21), ("prev_events", 10_000), ("auth_events", 11), ("auth_events", 10_000)]
)
async def test_too_many_references_are_refused_and_nobody_is_asked_for_them(
    room: SharedRoom, key: str, count: int
) -> None:
    wide = changed(room, room.message("wide"), **{key: [f"${number}" for number in range(count)]})
    (outcome,) = (await room.push(wide)).values()
    assert "error" in outcome
    assert not room.peer.asked(f"{V1}/get_missing_events") and not room.peer.asked(f"{V1}/event/")


async def test_a_thousand_events_that_nobody_knows_cost_few_questions(room: SharedRoom) -> None:
    """Fifty events, each of which stands on twenty that there are not."""
    room.peer.answers["POST", f"{V1}/get_missing_events/{room.room_id}"] = {"events": []}
    events = []
    for number in range(50):
        room.fork.prev = tuple(EventId(f"$unknown{number}-{other}".ljust(44, "x")) for other in range(20))
        events.append(room.message(f"{number}"))
    assert set(map(len, (await room.push(*events)).values())) == {0}
    await eventually(lambda: count_of_waiting(room), lambda count: count == 0)
    assert len(room.peer.asked(V1)) <= 20
    assert len(await room.seen()) < 20


async def count_of_waiting(room: SharedRoom) -> int:
    async with room.hospital.process.homeservers[0].store.database.connection() as connection:
        return await count_waiting(connection)


async def test_events_that_lead_back_to_themselves_have_no_place(neighbourhood: Neighbourhood) -> None:
    """In v1 and v2 ids are not hashes, so that there can be cycles."""
    room = await share_room(neighbourhood.a, neighbourhood.peer, version="2")
    before = room.fork.prev
    own = next_id(room)
    room.fork.prev = (own,)
    itself = room.message("on itself")
    assert itself.event_id == own
    room.fork.prev = (*before, next_id(room, 1))
    one = room.message("one of two")
    room.fork.prev = (one.event_id,)
    two = room.message("two of two")
    room.fork.prev = (two.event_id,)
    on_them = room.message("on a cycle")
    room.fork.prev = before
    good = room.message("good")
    answer = await room.push(itself, one, two, on_them, good)
    assert answer.pop(good.event_id) == {}
    assert len(answer) == 4 and all("error" in outcome for outcome in answer.values())
    assert (await room.seen())[-1] == good.event_id
    assert (await room.alice.bodies(room.room_id, limit=100))[0] == "good"


def next_id(room: SharedRoom, ahead: int = 0) -> EventId:
    """The id that the fork gives to an event that it makes."""
    made = room.message("to see the number")
    number = int(made.event_id[len("$fork") :].partition(":")[0])
    return EventId(f"$fork{number + 1 + ahead}:{PEER}")


@pytest.mark.parametrize(("version", "depth"), [("11", 0), ("11", 2**53 - 1), ("1", 0), ("1", 2**63 - 1)])
async def test_a_forged_depth_neither_orders_nor_stops_a_room(
    neighbourhood: Neighbourhood, version: str, depth: int
) -> None:
    room = await share_room(neighbourhood.a, neighbourhood.peer, version=version)
    room.fork.depth = depth - 1
    forged = room.message("forged depth")
    assert await room.push(forged) == {forged.event_id: {}}
    last = await room.alice.say(room.room_id, "afterwards")
    room.fork = await room.fork_here()
    room.fork.depth = 0
    low = room.message("low")
    assert await room.push(low) == {low.event_id: {}}
    assert (await room.seen())[-3:] == [forged.event_id, last, low.event_id]
