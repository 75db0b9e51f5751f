"""History that other servers ask for: what precedes events, and what lies between them."""

import itertools
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from tests.conftest import Neighbourhood
from tests.peer_in_room import HISTORY_VISIBILITY, TEXT, PeerInRoom, queues_of, room_with_peer
from tests.people import Person
from tim_server.federation.errors import RemoteError
from tim_server.matrix.events.hashes import event_id_of
from tim_server.matrix.identifiers import ServerName
from tim_server.matrix.room_versions import room_version

_names = itertools.count()


@pytest.fixture(scope="module")
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person("alice")


@pytest.fixture
async def room(neighbourhood: Neighbourhood, alice: Person) -> PeerInRoom:
    return await room_with_peer(neighbourhood.a, neighbourhood.peer, alice)


def backfill(room: PeerInRoom, *event_ids: str, limit: int = 100) -> str:
    query = urlencode([*(("v", event_id) for event_id in event_ids), ("limit", limit)])
    return f"backfill/{quote(room.room_id)}?{query}"


def id_of(pdu: dict[str, Any]) -> str:
    """The id of an event of version 12, or any but the first two."""
    return event_id_of(pdu, room_version("12"))


async def backfilled(room: PeerInRoom, *event_ids: str, limit: int = 100) -> list[str]:
    return [id_of(pdu) for pdu in (await room.get(backfill(room, *event_ids, limit=limit)))["pdus"]]


async def missing(room: PeerInRoom, latest: list[str], earliest: list[str], **more: Any) -> list[str]:
    body = {"latest_events": latest, "earliest_events": earliest, **more}
    answer = await room.post(f"get_missing_events/{quote(room.room_id)}", body)
    return [id_of(pdu) for pdu in answer["events"]]


async def test_the_events_given_and_what_precedes_them_are_told_up_to_the_limit(
    alice: Person, room: PeerInRoom
) -> None:
    sent = [await alice.send(room.room_id) for _ in range(4)]
    answer = await room.get(backfill(room, sent[3], limit=3))
    assert (answer["origin"], answer["origin_server_ts"] > 0) == ("a.example", True)
    assert [id_of(pdu) for pdu in answer["pdus"]] == [sent[3], sent[2], sent[1]]
    assert answer["pdus"][0]["content"]["msgtype"] == "m.text"


async def test_history_goes_back_to_the_creation_of_the_room(alice: Person, room: PeerInRoom) -> None:
    last = await alice.send(room.room_id)
    pdus = (await room.get(backfill(room, last)))["pdus"]
    assert pdus[-1]["type"] == "m.room.create"


async def test_both_sides_of_a_fork_are_told(alice: Person, room: PeerInRoom) -> None:
    fork = await room.fork()
    ours = await alice.send(room.room_id)
    theirs = fork.make("m.room.message", TEXT)
    await room.receive(theirs)
    joined = await alice.send(room.room_id)
    assert set(await backfilled(room, joined, limit=3)) == {joined, ours, theirs.event_id}
    assert set(await missing(room, [joined], [ours])) >= {theirs.event_id}


@pytest.mark.parametrize(
    "query", ["limit=10", "v=%24event", "v=event&limit=10", "v=%24event&limit=0", "v=%24event&limit=all"]
)
async def test_a_request_without_sense_is_refused(room: PeerInRoom, query: str) -> None:
    status, answer = await room.peer.ask(
        "a.example", "GET", f"/_matrix/federation/v1/backfill/{quote(room.room_id)}?{query}"
    )
    assert (status, answer["errcode"][:2]) == (400, "M_")


async def test_events_of_other_rooms_and_unknown_ones_lead_nowhere(
    neighbourhood: Neighbourhood, alice: Person, room: PeerInRoom
) -> None:
    other = await room_with_peer(neighbourhood.a, neighbourhood.peer, alice)
    elsewhere = await alice.send(other.room_id)
    here = await alice.send(room.room_id)
    assert await backfilled(room, elsewhere, "$nothing") == []
    assert await missing(room, [elsewhere, "$nothing"], []) == []
    assert await backfilled(room, elsewhere, here, limit=1) == [here]


async def test_missing_events_are_those_between_oldest_first(alice: Person, room: PeerInRoom) -> None:
    sent = [await alice.send(room.room_id) for _ in range(5)]
    assert await missing(room, [sent[4]], [sent[0]]) == sent[1:4]
    assert await missing(room, [sent[4]], [sent[0]], limit=2) == sent[2:4]
    assert await missing(room, [sent[4]], [sent[4]], limit=1) == [sent[3]]
    assert await missing(room, [sent[4]], [], limit=0) == []


async def test_missing_events_are_as_deep_as_asked_for(alice: Person, room: PeerInRoom) -> None:
    sent = [await alice.send(room.room_id) for _ in range(4)]
    (pdu,) = (await room.get(f"event/{quote(sent[1])}"))["pdus"]
    assert await missing(room, [sent[3]], [], min_depth=pdu["depth"]) == sent[1:3]


async def test_what_was_rejected_is_not_told_and_what_soft_failed_only_to_who_asks_for_it(
    alice: Person, room: PeerInRoom
) -> None:
    fork = await room.fork()
    bad = fork.make("m.room.name", {"name": "Mine"}, state_key="")
    after_bad = fork.make("m.room.message", TEXT)
    await room.receive(bad, after_bad)
    told = await backfilled(room, after_bad.event_id)
    assert after_bad.event_id in told
    assert bad.event_id not in told
    old = await room.fork()
    await alice.set_state(room.room_id, "m.room.power_levels", {"events_default": 50})
    late = old.make("m.room.message", TEXT)
    await room.receive(late)
    assert late.event_id not in await backfilled(room, await alice.send(room.room_id))
    assert late.event_id in await backfilled(room, late.event_id)


async def test_a_redacted_event_is_told_in_its_redacted_form(alice: Person, room: PeerInRoom) -> None:
    event_id = await alice.send(room.room_id)
    await alice.put(f"rooms/{room.room_id}/redact/{event_id}/{next(_names)}", {})
    (pdu,) = (await room.get(backfill(room, event_id, limit=1)))["pdus"]
    assert (id_of(pdu), pdu["content"]) == (event_id, {})


async def test_servers_that_never_were_in_the_room_are_told_nothing(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = PeerInRoom(neighbourhood.a, neighbourhood.peer, await alice.create_room())
    event_id = await alice.send(room.room_id)
    await room.refused(403, "M_FORBIDDEN", backfill(room, event_id))
    await room.post(
        f"get_missing_events/{quote(room.room_id)}", {"latest_events": [event_id], "earliest_events": []}, status=403
    )


async def test_servers_that_the_room_denies_are_told_nothing(alice: Person, room: PeerInRoom) -> None:
    event_id = await alice.set_state(
        room.room_id, "m.room.server_acl", {"allow": ["*"], "deny": [room.peer.name], "allow_ip_literals": True}
    )
    await room.refused(403, "M_FORBIDDEN", backfill(room, event_id))


async def test_rooms_that_the_server_never_was_in_are_not_found(alice: Person, room: PeerInRoom) -> None:
    await room.refused(404, "M_NOT_FOUND", "backfill/%21nowhere%3Aa.example?v=%24event&limit=1")


async def test_who_was_there_is_told_what_a_server_knew_when_it_left(
    neighbourhood: Neighbourhood, alice: Person, room: PeerInRoom
) -> None:
    """Its last events may not have come to everybody, and nobody else may have them."""
    known, last = [await alice.send(room.room_id) for _ in range(2)]
    await alice.leave(room.room_id)
    assert (await backfilled(room, last))[:2] == [last, known]
    head = await queues_of(neighbourhood.a).heads.get(room.room_id)
    assert head is not None
    ((_, leave),) = head.extremities
    assert await missing(room, [leave], [known]) == [last]
    assert (await room.get(f"state_ids/{quote(room.room_id)}?event_id={quote(leave)}"))["pdu_ids"]
    stranger = neighbourhood.b.process.homeservers[0].federation.client
    with pytest.raises(RemoteError, match="403"):
        await stranger.get(ServerName("a.example"), f"/_matrix/federation/v1/{backfill(room, last)}")


async def test_a_long_history_is_bounded(alice: Person, room: PeerInRoom) -> None:
    for _ in range(120):
        last = await alice.send(room.room_id)
    assert len(await backfilled(room, last, limit=10**9)) == 100
    assert len(await missing(room, [last], [], limit=10**9)) == 100
    assert len(await missing(room, [last], [])) == 10


async def test_the_form_of_events_is_that_of_the_room_version(neighbourhood: Neighbourhood, alice: Person) -> None:
    room = await room_with_peer(neighbourhood.a, neighbourhood.peer, alice, room_version="1")
    event_id = await alice.send(room.room_id)
    (pdu,) = (await room.get(backfill(room, event_id, limit=1)))["pdus"]
    assert pdu["event_id"] == event_id
    assert isinstance(pdu["prev_events"][0], list)


async def test_history_visibility_event(alice: Person, room: PeerInRoom) -> None:
    await room.leave()
    closing = await alice.set_state(room.room_id, HISTORY_VISIBILITY, {"history_visibility": "joined"})
    hidden = await alice.send(room.room_id)
    await room.join()
    pdus = {id_of(pdu): pdu for pdu in (await room.get(backfill(room, await alice.send(room.room_id))))["pdus"]}
    assert pdus[closing]["content"] == {"history_visibility": "joined"}
    assert pdus[hidden]["content"] == {}
