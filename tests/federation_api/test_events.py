"""Single events, states and auth chains that other servers ask for, and events by their time."""

import time
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import pytest

from tests.client_api.test_erasure import close_account
from tests.conftest import Neighbourhood
from tests.inviting import serve_invites
from tests.peer_in_room import HISTORY_VISIBILITY, MEMBER, TEXT, PeerInRoom, room_with_peer
from tests.people import Person
from tim_server.matrix.events.hashes import event_id_of
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.resident import state as resident_state

SETTINGS = ("world_readable", "shared", "invited", "joined")


@pytest.fixture(scope="module")
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person("alice")


@pytest.fixture
async def room(neighbourhood: Neighbourhood, alice: Person) -> PeerInRoom:
    return await room_with_peer(neighbourhood.a, neighbourhood.peer, alice)


def id_of(pdu: dict[str, Any]) -> str:
    return event_id_of(pdu, room_version("12"))


async def event(room: PeerInRoom, event_id: str) -> dict[str, Any]:
    (pdu,) = (await room.get(f"event/{quote(event_id)}"))["pdus"]
    assert id_of(pdu) == event_id
    return dict(pdu)


def at(room: PeerInRoom, what: str, event_id: str) -> str:
    return f"{what}/{quote(room.room_id)}?event_id={quote(event_id)}"


async def state_ids(room: PeerInRoom, event_id: str) -> set[str]:
    return set((await room.get(at(room, "state_ids", event_id)))["pdu_ids"])


# Single events


async def test_an_event_is_given_in_a_transaction_of_its_own(alice: Person, room: PeerInRoom) -> None:
    event_id = await alice.say(room.room_id, "Hello")
    answer = await room.get(f"event/{quote(event_id)}")
    assert (answer["origin"], abs(answer["origin_server_ts"] - time.time() * 1000) < 60_000) == ("a.example", True)
    (pdu,) = answer["pdus"]
    assert (pdu["content"]["body"], pdu["sender"], pdu["room_id"]) == ("Hello", alice.user_id, room.room_id)
    assert set(pdu) >= {"auth_events", "prev_events", "hashes", "signatures", "depth"}


async def test_an_unknown_event_is_not_found(room: PeerInRoom) -> None:
    await room.refused(404, "M_NOT_FOUND", "event/%24nothing")
    await room.refused(400, "M_INVALID_PARAM", "event/nothing")


async def test_rejected_and_soft_failed_events_are_given_by_id(alice: Person, room: PeerInRoom) -> None:
    fork = await room.fork()
    bad = fork.make("m.room.name", {"name": "Mine"}, state_key="")
    late = (await room.fork()).make("m.room.message", TEXT)
    await room.receive(bad)
    await alice.set_state(room.room_id, "m.room.power_levels", {"events_default": 50})
    await room.receive(late)
    for given in (bad, late):
        assert (await event(room, given.event_id))["content"] == given.content


# History visibility: the rules are those for users, and a server may see what any of its users may


async def in_the_room(alice: Person, room: PeerInRoom) -> str:
    await room.join()
    return await alice.send(room.room_id)


async def invited_then_in_the_room_now(alice: Person, room: PeerInRoom) -> str:
    serve_invites(room.peer)
    await alice.set_state(room.room_id, MEMBER, {"membership": "invite"}, room.carol)
    event_id = await alice.send(room.room_id)
    await room.join()
    return event_id


async def joined_later(alice: Person, room: PeerInRoom) -> str:
    event_id = await alice.send(room.room_id)
    await room.join()
    return event_id


async def away_then_in_the_room_now(alice: Person, room: PeerInRoom) -> str:
    await room.join()
    await room.leave()
    return await joined_later(alice, room)


async def left_since(alice: Person, room: PeerInRoom) -> str:
    event_id = await in_the_room(alice, room)
    await room.leave()
    return event_id


async def left_before(alice: Person, room: PeerInRoom) -> str:
    await room.join()
    await room.leave()
    return await alice.send(room.room_id)


async def joined_later_and_left(alice: Person, room: PeerInRoom) -> str:
    event_id = await joined_later(alice, room)
    await room.leave()
    return event_id


async def invited_only(alice: Person, room: PeerInRoom) -> str:
    serve_invites(room.peer)
    await alice.set_state(room.room_id, MEMBER, {"membership": "invite"}, room.carol)
    return await alice.send(room.room_id)


async def never(alice: Person, room: PeerInRoom) -> str:
    return await alice.send(room.room_id)


@pytest.mark.parametrize("setting", range(len(SETTINGS)), ids=SETTINGS)
@pytest.mark.parametrize(
    ("relation", "told"),
    [
        (in_the_room, ("whole", "whole", "whole", "whole")),
        (invited_then_in_the_room_now, ("whole", "whole", "whole", "redacted")),
        (joined_later, ("whole", "whole", "redacted", "redacted")),
        (away_then_in_the_room_now, ("whole", "whole", "redacted", "redacted")),
        (left_since, ("whole", "whole", "whole", "whole")),
        (left_before, ("whole", "not found", "not found", "not found")),
        (joined_later_and_left, ("whole", "whole", "not found", "not found")),
        (invited_only, ("forbidden",) * 4),
        (never, ("forbidden",) * 4),
    ],
)
async def test_what_a_server_is_told_of_an_event(
    neighbourhood: Neighbourhood,
    alice: Person,
    relation: Callable[[Person, PeerInRoom], Awaitable[str]],
    told: tuple[str, ...],
    setting: int,
) -> None:
    room = PeerInRoom(neighbourhood.a, neighbourhood.peer, await alice.create_room())
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": SETTINGS[setting]})
    event_id = await relation(alice, room)
    path = f"event/{quote(event_id)}"
    if told[setting] in ("not found", "forbidden"):
        await room.get(path, 404 if told[setting] == "not found" else 403)
    else:
        content = (await event(room, event_id))["content"]
        assert bool(content) is (told[setting] == "whole")
    backfill = f"backfill/{quote(room.room_id)}?v={quote(event_id)}&limit=1"
    if told[setting] == "forbidden":
        await room.get(backfill, 403)
    else:
        assert len((await room.get(backfill))["pdus"]) == (told[setting] != "not found")


async def test_own_memberships_and_changes_of_visibility_are_seen_on_either_side(
    alice: Person, room: PeerInRoom
) -> None:
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    await room.leave()
    ban = await alice.set_state(room.room_id, MEMBER, {"membership": "ban", "reason": "noise"}, room.carol)
    opening = await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "world_readable"})
    closing = await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    await room.get(f"event/{quote(ban)}", 404)
    for change in (opening, closing):
        assert (await event(room, change))["content"]["history_visibility"]


async def test_what_a_server_sent_itself_and_state_in_place_are_no_secret(alice: Person, room: PeerInRoom) -> None:
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    own = await room.send()
    await room.leave()
    old = await alice.set_state(room.room_id, "m.room.topic", {"topic": "Before"})
    name = await alice.set_state(room.room_id, "m.room.name", {"name": "Ward"})
    await room.get(f"event/{quote(name)}", 404)
    await room.join()
    await alice.set_state(room.room_id, "m.room.topic", {"topic": "Now"})
    assert (await event(room, own))["content"] == TEXT
    assert (await event(room, name))["content"] == {"name": "Ward"}
    assert (await event(room, old))["content"] == {}


async def test_another_user_of_the_server_counts_as_well(alice: Person, room: PeerInRoom) -> None:
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    await room.join(f"@dave:{room.peer.name}")
    await room.leave()
    event_id = await alice.send(room.room_id)
    assert (await event(room, event_id))["content"]
    await room.leave(f"@dave:{room.peer.name}")
    assert (await event(room, event_id))["content"]


async def test_a_fork_that_does_not_know_of_the_join_is_hidden(neighbourhood: Neighbourhood, alice: Person) -> None:
    """What counts is the state at the event, not when it came."""
    room = PeerInRoom(neighbourhood.a, neighbourhood.peer, await alice.create_room())
    bob = await neighbourhood.a.person()
    await bob.join(room.room_id)
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    fork = await room.fork()
    await room.join()
    b = neighbourhood.a.process.homeservers[0].homeserver.room_sender.queues.author
    late = fork.make("m.room.message", TEXT, sender=bob.user_id, author=b)
    await room.receive(late)
    assert (await event(room, late.event_id))["content"] == {}


async def test_servers_that_come_later_get_the_messages_of_an_erased_user_redacted(
    neighbourhood: Neighbourhood, alice: Person, room: PeerInRoom
) -> None:
    bob = await neighbourhood.a.person()
    late = PeerInRoom(neighbourhood.a, neighbourhood.peer, await alice.create_room())
    said = {}
    for each in (room, late):
        await bob.join(each.room_id)
        said[each.room_id] = await bob.say(each.room_id, "Hello")
    await close_account(bob, erase=True)
    await late.join()
    assert (await event(room, said[room.room_id]))["content"]["body"] == "Hello"
    assert (await event(late, said[late.room_id]))["content"] == {}


# States and auth chains


async def test_the_state_is_that_before_the_event(alice: Person, room: PeerInRoom) -> None:
    first = await alice.set_state(room.room_id, "m.room.topic", {"topic": "First"})
    second = await alice.set_state(room.room_id, "m.room.topic", {"topic": "Second"})
    message = await alice.send(room.room_id)
    assert first not in await state_ids(room, first)
    assert first in await state_ids(room, second)
    assert {first, second} & await state_ids(room, message) == {second}


async def test_state_comes_with_its_auth_chain(alice: Person, room: PeerInRoom) -> None:
    await alice.set_state(room.room_id, "m.room.power_levels", {"events_default": 0, "users_default": 1})
    message = await alice.send(room.room_id)
    answer = await room.get(at(room, "state", message))
    ids = await room.get(at(room, "state_ids", message))
    assert sorted(map(id_of, answer["pdus"])) == sorted(ids["pdu_ids"])
    assert sorted(map(id_of, answer["auth_chain"])) == sorted(ids["auth_chain_ids"])
    chain = set(ids["auth_chain_ids"])
    for pdu in (*answer["pdus"], *answer["auth_chain"]):
        assert {*pdu["auth_events"]} <= chain
    keys = {(pdu["type"], pdu["state_key"]) for pdu in answer["pdus"]}
    assert keys >= {("m.room.create", ""), (MEMBER, alice.user_id), (MEMBER, room.carol), ("m.room.power_levels", "")}
    assert len(keys) == len(answer["pdus"])


async def test_before_the_first_event_there_is_no_state(alice: Person, room: PeerInRoom) -> None:
    create = (await alice.get(f"rooms/{room.room_id}/state"))[0]["event_id"]
    assert await room.get(at(room, "state", create)) == {"pdus": [], "auth_chain": []}
    assert await room.get(at(room, "state_ids", create)) == {"pdu_ids": [], "auth_chain_ids": []}


async def test_the_auth_chain_of_an_event_has_all_that_allow_it(alice: Person, room: PeerInRoom) -> None:
    message = await alice.send(room.room_id)
    pdu = await event(room, message)
    chain = (await room.get(f"event_auth/{quote(room.room_id)}/{quote(message)}"))["auth_chain"]
    ids = {id_of(each) for each in chain}
    assert ids >= {*pdu["auth_events"]}
    assert message not in ids
    assert all({*each["auth_events"]} <= ids for each in chain)
    assert "m.room.create" in {each["type"] for each in chain}


@pytest.mark.parametrize("what", ["state", "state_ids"])
async def test_states_are_for_servers_in_the_room_and_of_events_in_it(
    neighbourhood: Neighbourhood, alice: Person, room: PeerInRoom, what: str
) -> None:
    other = await room_with_peer(neighbourhood.a, neighbourhood.peer, alice)
    elsewhere, here = await alice.send(other.room_id), await alice.send(room.room_id)
    await room.refused(404, "M_NOT_FOUND", at(room, what, elsewhere))
    await room.refused(404, "M_NOT_FOUND", at(room, what, "$nothing"))
    await room.refused(404, "M_NOT_FOUND", f"event_auth/{quote(room.room_id)}/{quote(elsewhere)}")
    await room.leave()
    await room.refused(403, "M_FORBIDDEN", at(room, what, here))
    await room.refused(403, "M_FORBIDDEN", f"event_auth/{quote(room.room_id)}/{quote(here)}")


async def test_old_state_that_the_server_could_not_see_is_told_redacted(alice: Person, room: PeerInRoom) -> None:
    """The ids are those of the whole events, so that it serves to verify others, and the topic stays a secret."""
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    await room.leave()
    topic = await alice.set_state(room.room_id, "m.room.topic", {"topic": "Diagnosis"})
    hidden = await alice.send(room.room_id)
    name = await alice.set_state(room.room_id, "m.room.name", {"name": "Ward"})
    await alice.set_state(room.room_id, "m.room.topic", {"topic": "Nothing"})
    await room.join()
    seen = await alice.send(room.room_id)
    before_hidden = {id_of(pdu): pdu for pdu in (await room.get(at(room, "state", hidden)))["pdus"]}
    assert before_hidden[topic]["content"] == {}
    assert {pdu["type"]: pdu["content"] for pdu in before_hidden.values()}[HISTORY_VISIBILITY]
    before_seen = {id_of(pdu): pdu for pdu in (await room.get(at(room, "state", seen)))["pdus"]}
    assert before_seen[name]["content"] == {"name": "Ward"}


async def test_a_large_state_is_read_some_events_at_a_time(
    alice: Person, room: PeerInRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    async def load_pdus(tx: Any, codec: Any, nids: Any) -> Any:
        read.append(len(nids))
        return await load(tx, codec, nids)

    load = resident_state.load_pdus
    monkeypatch.setattr(resident_state, "load_pdus", load_pdus)
    monkeypatch.setattr(resident_state, "EVENTS_PER_READ", 10)
    for number in range(25):
        await alice.set_state(room.room_id, "org.example.bed", {"number": number}, str(number))
    answer = await room.get(at(room, "state", await alice.send(room.room_id)))
    assert sum(pdu["type"] == "org.example.bed" for pdu in answer["pdus"]) == 25
    assert (sum(read), max(read)) == (len(answer["pdus"]) + len(answer["auth_chain"]), 10)


# Events by time


def by_time(room: PeerInRoom, ts: int, direction: str) -> str:
    return f"timestamp_to_event/{quote(room.room_id)}?ts={ts}&dir={direction}"


async def test_the_event_nearest_to_a_time_is_found_in_either_direction(alice: Person, room: PeerInRoom) -> None:
    event_id = await alice.send(room.room_id)
    ts = (await event(room, event_id))["origin_server_ts"]
    assert await room.get(by_time(room, ts + 1_000, "b")) == {"event_id": event_id, "origin_server_ts": ts}
    first = await room.get(by_time(room, 0, "f"))
    assert (await event(room, first["event_id"]))["type"] == "m.room.create"
    await room.refused(404, "M_NOT_FOUND", by_time(room, ts + 1_000, "f"))
    await room.refused(404, "M_NOT_FOUND", by_time(room, 0, "b"))


async def test_events_that_the_server_may_not_see_are_not_found_by_time(alice: Person, room: PeerInRoom) -> None:
    await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    last = await room.leave()
    await alice.send(room.room_id)
    await room.refused(403, "M_FORBIDDEN", by_time(room, 0, "f"))
    ts = int(time.time() * 1000)
    back = await room.join()
    assert (await room.get(by_time(room, ts, "b")))["event_id"] in (last, back)


@pytest.mark.parametrize("query", ["ts=1", "dir=f", "ts=soon&dir=f", "ts=1&dir=x", f"ts={2**70}&dir=f"])
async def test_a_time_without_sense_is_refused(room: PeerInRoom, query: str) -> None:
    await room.get(f"timestamp_to_event/{quote(room.room_id)}?{query}", 400)
