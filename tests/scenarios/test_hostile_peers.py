"""Servers that mean harm, or are broken: what they send and answer costs them, and nobody else."""

import asyncio
import itertools
import os
import random
import resource
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.peer import Asked
from tests.peer_history import V1
from tests.peer_room import PeerRoom
from tests.services.rooms.remote.missing.conftest import Gap
from tests.shared_rooms import push, share_room
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.services.rooms.remote.waiting_events import WaitingEvents

GROWTH_BYTES_MAX = 60 * 2**20
REQUESTS_MAX = 40
_numbers = itertools.count()


@pytest.fixture
async def gap(neighbourhood: Neighbourhood) -> Gap:
    return await Gap.open(neighbourhood)


def rss_bytes() -> int:
    """What this process, servers included, has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


async def is_well(gap: Gap) -> None:
    """Whether the hospital goes on: another room takes events of the same peer, and people of the room can talk."""
    other = await share_room(gap.neighbourhood.a, gap.peer)
    message = other.message("all is well")
    async with asyncio.timeout(5):
        assert await other.push(message) == {message.event_id: {}}
        await gap.alice.send(gap.room.room_id)


def unknown_id() -> str:
    return f"$unknown{next(_numbers):036}"


# What is sent


async def test_ten_thousand_prev_events_are_too_many(gap: Gap) -> None:
    pdu = gap.room.make("m.room.message", {"body": "x"}).pdu
    for count in (21, 10_000):
        (outcome,) = (await gap.send({**pdu, "prev_events": [unknown_id() for _ in range(count)]})).values()
        assert "error" in outcome
    assert await gap.count() == 0
    assert gap.asked("get_missing_events") == gap.asked("state_ids") == 0
    await is_well(gap)


async def test_twenty_unknown_prev_events_cost_a_few_requests(gap: Gap) -> None:
    prev = tuple(EventId(unknown_id()) for _ in range(20))
    event = gap.room.take(gap.room.make("m.room.message", {"body": "x"}, prev_events=prev))
    await gap.send(event)
    await gap.nothing_waits()
    assert len(gap.peer.requests) <= 5 and await gap.row(event) is None
    await is_well(gap)


@pytest.mark.parametrize(
    "change",
    [
        {"depth": 2**63},
        {"depth": -1},
        {"origin_server_ts": "now"},
        {"prev_events": "all"},
        {"auth_events": [[]]},
        {"content": []},
        {"sender": "nobody"},
        {"type": "x" * 256},
        {"state_key": 5},
        {"signatures": {"peer.example": []}},
        {"hashes": {}},
        {"content": {"body": "x" * 70_000}},
        {"room_id": "!elsewhere:peer.example"},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_an_event_that_is_none_is_dropped_and_its_neighbours_are_not(gap: Gap, change: dict[str, Any]) -> None:
    before = gap.room.say("before")
    bad = {**gap.room.make("m.room.message", {"body": "bad"}).pdu, **change}
    after = gap.room.say("after")
    answer = await gap.send(before, bad, after)
    assert answer[before.event_id] == answer[after.event_id] == {}
    assert all(
        "error" in outcome for event_id, outcome in answer.items() if event_id not in (before.event_id, after.event_id)
    )
    assert await gap.sees("before", "after") == ["before", "after"]


async def test_an_event_whose_content_was_changed_is_taken_in_redacted(gap: Gap) -> None:
    event = gap.room.say("what was signed")
    event.pdu["content"] = {"body": "something else"}
    assert await gap.send(event) == {event.event_id: {}}
    row = await gap.row(event)
    assert row is not None and b"something else" not in row.body and b"what was signed" not in row.body


async def test_depth_that_is_made_up_changes_no_order(gap: Gap) -> None:
    texts = ["first", "second", "third"]
    events = []
    for text, depth in zip(texts, (2**53 - 1, 1, 500), strict=True):
        events.append(gap.room.say(text, depth=depth))
    await gap.send(*events)
    assert await gap.sees(*texts) == texts
    await gap.alice.send(gap.room.room_id)


async def test_events_that_come_before_each_other_are_dropped(neighbourhood: Neighbourhood) -> None:
    gap = await Gap.open(neighbourhood, "1")
    one, two = EventId("$one:peer.example"), EventId("$two:peer.example")
    events = [
        gap.room.make("m.room.message", {"body": "x"}, event_id=own, prev_events=(other,))
        for own, other in ((one, two), (two, one))
    ]
    answer = await gap.send(*events)
    assert all("error" in answer[event.event_id] for event in events)
    gap.room.events |= {event.event_id: event for event in events}
    last = gap.room.take(gap.room.make("m.room.message", {"body": "x"}, prev_events=(one,)))
    await gap.send(last)
    await gap.nothing_waits()
    assert await gap.row(last) is None and len(gap.peer.requests) < REQUESTS_MAX
    await is_well(gap)


async def test_events_of_another_server_are_not_taken_from_one_that_has_not_their_signature(gap: Gap) -> None:
    forged = gap.room.make("m.room.message", {"body": "by Alice"}, sender=gap.alice.user_id)
    assert "error" in (await gap.send(forged))[forged.event_id]


async def test_transactions_may_come_doubled_and_in_any_order(gap: Gap) -> None:
    events = [gap.room.say(f"message {number}") for number in range(60)]
    batches = [events[start : start + 3] for start in range(0, 60, 3)] * 2
    random.Random(5).shuffle(batches)
    for batch in batches:
        await gap.send(*batch)
    await gap.nothing_waits()
    seen = await gap.alice.bodies(gap.room.room_id, limit=200)
    assert sorted(seen) == sorted(f"message {number}" for number in range(60))
    assert [e for _, e in (await gap.head()).extremities] == [events[-1].event_id]


# What is answered


async def test_a_chain_without_an_end_is_not_followed_for_ever(gap: Gap) -> None:
    async def endless(asked: Asked) -> Any:
        """Each time twenty more events, which come before those that are named."""
        (latest,) = asked.json["latest_events"]
        depth, found = 1_000, []
        prev = gap.room.events[EventId(latest)].prev_events[0]
        for event in reversed(chains[prev]):
            found.append(event.pdu)
        return {"events": found, "depth": depth}

    chains: dict[EventId, list[Event]] = {}

    def grow(before: EventId) -> EventId:
        """A chain whose newest event is the answer's id, and which begins after `before`."""
        chain, prev = [], before
        for number in range(20):
            chain.append(gap.room.make("m.room.message", {"body": f"deep {number}"}, prev_events=(prev,)))
            gap.room.events[chain[-1].event_id] = chain[-1]
            gap.room.before[chain[-1].event_id] = dict(gap.room.state)
            prev = chain[-1].event_id
        chains[prev] = chain
        return prev

    newest = EventId(unknown_id())
    for _ in range(60):
        newest = grow(newest)
    gap.peer.answers["POST", f"{V1}/get_missing_events/{gap.room.room_id}"] = endless
    last = gap.room.take(gap.room.make("m.room.message", {"body": "at last"}, prev_events=(newest,)))
    before = rss_bytes()
    await gap.send(last)
    await gap.sees("at last")
    assert gap.asked("get_missing_events") <= 10 and gap.asked("state_ids") == 1
    assert len(gap.peer.requests) < REQUESTS_MAX and rss_bytes() - before < GROWTH_BYTES_MAX
    await is_well(gap)


Answer = Callable[[Gap], Any]


def _events(*pdus: Any) -> Answer:
    return lambda gap: {"events": list(pdus)}


async def _endless_body(asked: Asked) -> Any:
    raise AssertionError("not here")


GARBAGE: dict[str, Answer] = {
    "nothing": lambda gap: {},
    "no list": lambda gap: {"events": {"a": 1}},
    "no objects": _events(1, None, "x", [], {}),
    "an array": lambda gap: web.json_response([]),
    "no JSON": lambda gap: web.Response(body=b"<html>"),
    "ten thousand objects": _events(*({"type": "x"} for _ in range(10_000))),
    "events of another room": lambda gap: {"events": [PeerRoom.create(gap.peer.author).say("elsewhere").pdu] * 20},
    "events that nobody asked for": lambda gap: {
        "events": [gap.room.make("m.room.message", {"n": n}).pdu for n in range(20)]
    },
    "events that nobody signed": lambda gap: {"events": [{**gap.room.say("x").pdu, "signatures": {}}]},
    "a redirect": lambda gap: web.Response(status=302, headers={"Location": "https://127.0.0.1:1/"}),
}


@pytest.mark.parametrize("answer", GARBAGE.values(), ids=GARBAGE.keys())
async def test_garbage_for_missing_events_gives_nothing_up_but_the_event(gap: Gap, answer: Answer) -> None:
    gap.lose(2)
    last = gap.room.say("after them")
    gap.peer.answers["POST", f"{V1}/get_missing_events/{gap.room.room_id}"] = answer(gap)
    await gap.send(last)
    await gap.nothing_waits()
    assert len(gap.peer.requests) < REQUESTS_MAX and await gap.row(last) is None
    await is_well(gap)


async def test_a_body_of_a_hundred_megabytes_is_not_read(gap: Gap) -> None:
    async def flood(asked: Asked) -> Any:
        return web.Response(body=b'{"events":["' + b"x" * 100_000_000 + b'"]}', content_type="application/json")

    gap.lose(2)
    gap.peer.answers["POST", f"{V1}/get_missing_events/{gap.room.room_id}"] = flood
    await gap.send(gap.room.say("after them"))
    before = rss_bytes()
    await eventually(lambda: _asked(gap, "get_missing_events"))
    await is_well(gap)
    assert rss_bytes() - before < 2 * 100_000_000 + GROWTH_BYTES_MAX  # the peer's own body is in this process


async def _asked(gap: Gap, operation: str) -> int:
    return gap.asked(operation)


async def test_a_server_that_answers_never_holds_up_no_other(gap: Gap) -> None:
    silent = asyncio.Event()

    async def never(asked: Asked) -> Any:
        await silent.wait()
        return {}

    rooms = [await Gap.open(gap.neighbourhood) for _ in range(4)]
    for each in rooms:
        each.peer.answers["POST", f"{V1}/get_missing_events/{each.room.room_id}"] = never
        each.lose(1)
        await each.send(each.room.say("waits"))
    await eventually(lambda: _asked(gap, "get_missing_events"), lambda count: count == 2)
    began = time.monotonic()
    await is_well(gap)
    assert time.monotonic() - began < 5
    assert await gap.count() == 4
    silent.set()
    await gap.nothing_waits()


STATES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "no ids": lambda ids: {},
    "ids that are none": lambda ids: {"pdu_ids": [1, None], "auth_chain_ids": ["x"]},
    "unknown ids": lambda ids: {"pdu_ids": [unknown_id() for _ in range(30)], "auth_chain_ids": []},
    "no creation": lambda ids: {**ids, "pdu_ids": ids["pdu_ids"][1:]},
    "no list": lambda ids: {"pdu_ids": "all", "auth_chain_ids": "all"},
}


@pytest.mark.parametrize("alter", STATES.values(), ids=STATES.keys())
async def test_garbage_for_a_state_gives_nothing_up_but_the_event(gap: Gap, alter: Callable[[Any], Any]) -> None:
    gap.history.limit_max = 1
    gap.history.alter_ids = alter
    gap.lose(3)
    last = gap.room.say("after them")
    state = (await gap.head()).state
    await gap.send(last)
    await gap.nothing_waits()
    assert (await gap.head()).state == state and await gap.row(last) is None
    assert len(gap.peer.requests) < 3 * REQUESTS_MAX
    await is_well(gap)


async def test_a_state_without_power_levels_takes_no_power_from_anybody(neighbourhood: Neighbourhood) -> None:
    """As a server may try that has a user without power in a room."""
    room = await share_room(neighbourhood.a, neighbourhood.peer)
    levels = await room.state("m.room.power_levels")
    evil = await room.fork_here()
    evil.state = {key: event for key, event in evil.state.items() if key[0] != "m.room.power_levels"}
    taken = evil.make("m.room.power_levels", {"users": {str(room.user_id): 100}}, state_key="")
    lost = evil.make("m.room.message", {"body": "lost"})
    found = evil.make("m.room.message", {"body": "found"})
    last = evil.make("m.room.message", {"body": "last"})
    state = [event.event_id for event in evil.state.values()]
    peer, room_id = room.peer, room.room_id
    peer.answers["POST", f"{V1}/get_missing_events/{room_id}"] = {"events": [found.pdu]}
    peer.answers["GET", f"{V1}/state_ids/{room_id}"] = {"pdu_ids": state, "auth_chain_ids": state}
    peer.answers["GET", f"{V1}/event/{taken.event_id}"] = {"pdus": [taken.pdu]}
    peer.answers["GET", f"{V1}/event/{lost.event_id}"] = {"pdus": [lost.pdu]}
    assert await room.push(last) == {last.event_id: {}}
    waiting = _waiting(neighbourhood)
    await eventually(lambda: _idle(waiting))
    assert await room.state("m.room.power_levels") == levels
    await room.alice.put(f"rooms/{room_id}/state/m.room.topic", {"topic": "still ours"})


def _waiting(neighbourhood: Neighbourhood) -> WaitingEvents:
    return neighbourhood.a.process.homeservers[0].homeserver.transaction_receiver.pdus.waiting


async def _idle(waiting: WaitingEvents) -> bool:
    return not waiting._running


async def test_a_server_that_opens_gaps_everywhere_is_bounded_and_others_are_not(neighbourhood: Neighbourhood) -> None:
    gap = await Gap.open(neighbourhood)
    waiting = gap.waiting
    before, options = waiting.options, waiting.options
    gap.peer.answers["POST", f"{V1}/get_missing_events/{gap.room.room_id}"] = web.Response(status=503)
    waiting.options = type(options)(events_max=40, pause_s=60.0)
    try:
        events = [
            gap.room.make("m.room.message", {"body": f"{n}"}, prev_events=(EventId(unknown_id()),)) for n in range(50)
        ]
        answer = await gap.send(*events)
        assert sum(outcome == {} for outcome in answer.values()) == 10
        assert sum("too many" in outcome.get("error", "") for outcome in answer.values()) == 40
        await is_well(gap)
    finally:
        waiting.options = before
        async with gap.store.database.transaction() as tx:
            await tx.execute("DELETE FROM waiting_pdus")


async def test_events_of_nowhere_are_answered_one_by_one(gap: Gap) -> None:
    elsewhere = [PeerRoom.create(gap.peer.author).say("x") for _ in range(10)]
    answer = await push(gap.peer, "a.example", *elsewhere)
    assert all("not in the room" in outcome["error"] for outcome in answer.values())
    assert os.getpid() and await gap.count() == 0
