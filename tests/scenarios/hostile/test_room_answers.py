"""What a peer may answer when it is asked for rooms: states that never end, chains that never end, cycles. Rooms and
people beside go on, and what was told that is no such thing changes nothing.

Spec: https://spec.matrix.org/v1.19/server-server-api/#retrieving-events
"""

import asyncio
import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.peer import Asked
from tests.peer_room import FEDERATION, PeerRoom
from tests.people import Person
from tests.scenarios.hostile.conftest import PEER, V1
from tests.scenarios.hostile.memory import growth_bytes
from tests.services.rooms.remote.missing.conftest import Gap
from tim_server.matrix.identifiers import EventId

GROWTH_BYTES_MAX = 400 * 2**20
_numbers = itertools.count()


def unknown_id() -> EventId:
    return EventId(f"$unknown{next(_numbers):036}")


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture
async def gap(neighbourhood: Neighbourhood) -> Gap:
    """A room with a gap before what is sent next, which only a state closes."""
    gap = await Gap.open(neighbourhood)
    gap.waiting.options = replace(gap.waiting.options, pause_s=0.2)
    gap.history.limit_max = 1
    gap.lose(3)
    return gap


async def is_given_up(gap: Gap) -> None:
    """What is sent next is not taken in, the state stays, and the room goes on."""
    last, state = gap.room.say("after them"), (await gap.head()).state
    async with asyncio.timeout(60):
        assert await gap.send(last) == {last.event_id: {}}
        await gap.nothing_waits()
    assert (await gap.head()).state == state and await gap.row(last) is None
    await gap.alice.say(gap.room.room_id, "going on")
    gap.room.prev, gap.room.depth = (gap.room.joins[0].event_id,), gap.room.joins[0].depth
    good = gap.room.say("good")
    assert await gap.send(good) == {good.event_id: {}}
    await gap.sees("good", "going on")


# States


@pytest.mark.parametrize("count", [400_000, 600_000])
async def test_a_state_of_hundreds_of_thousands_of_events_is_refused(gap: Gap, count: int) -> None:
    ids = [unknown_id() for _ in range(count)]
    gap.history.alter_ids = lambda told: {"pdu_ids": [*told["pdu_ids"], *ids], "auth_chain_ids": ids[:100]}
    del gap.peer.answers["GET", f"{V1}/state/{gap.room.room_id}"]
    with growth_bytes() as growth:
        await is_given_up(gap)
    assert growth() < GROWTH_BYTES_MAX
    assert gap.asked("event") == 0 and len(gap.peer.requests) < 40


async def test_a_state_of_millions_of_objects_is_refused(gap: Gap) -> None:
    tiny = b'{"auth_chain_ids":[],"pdu_ids":[' + b"{}," * 5_000_000 + b"{}]}"
    gap.history.alter_ids = lambda told: web.Response(body=tiny)
    with growth_bytes() as growth:
        await is_given_up(gap)
    assert growth() < GROWTH_BYTES_MAX


async def test_a_state_without_end_is_refused(gap: Gap) -> None:
    async def endless() -> AsyncIterator[bytes]:
        event = b'{"type":"m.room.member","content":{"body":"' + b"x" * 60_000 + b'"}}'
        yield b'{"pdus":[' + event
        for _ in range(5_000):
            yield b"," + event
            await asyncio.sleep(0)

    async def state(asked: Asked) -> Any:
        return web.Response(body=endless())

    ids = [unknown_id() for _ in range(1_000)]
    gap.history.alter_ids = lambda told: {"pdu_ids": [*told["pdu_ids"], *ids], "auth_chain_ids": []}
    gap.peer.answers["GET", f"{V1}/state/{gap.room.room_id}"] = state
    with growth_bytes() as growth:
        await is_given_up(gap)
    assert growth() < GROWTH_BYTES_MAX


async def test_the_state_of_another_room_is_refused(gap: Gap) -> None:
    other = PeerRoom.create(gap.peer.author)
    other.serve(gap.peer)
    await gap.alice.join(other.room_id, PEER)
    foreign = [event.event_id for event in other.state.values()]
    gap.history.alter_ids = lambda told: {"pdu_ids": foreign, "auth_chain_ids": foreign}
    await is_given_up(gap)


# Chains


async def test_an_auth_chain_without_end_is_followed_a_few_steps(gap: Gap) -> None:
    """Each event that is asked for is authorised by ten others that must be asked for."""

    async def event(asked: Asked) -> Any:
        event_id = EventId(unquote(asked.path).rpartition("/")[2])
        return {"pdus": [made[event_id].pdu]} if event_id in made else grow()

    made: dict[EventId, Any] = {}

    def grow() -> Any:
        cited = tuple(unknown_id() for _ in range(10))
        return {"pdus": [gap.room.make("m.room.topic", {"topic": "x"}, state_key="", auth_events=cited).pdu]}

    def chain(depth: int) -> EventId:
        cited = tuple(chain(depth - 1) for _ in range(3)) if depth else (unknown_id(),)
        topic = gap.room.make("m.room.topic", {"topic": f"{next(_numbers)}"}, state_key="", auth_events=cited)
        made[topic.event_id] = topic
        return topic.event_id

    top = chain(6)
    gap.peer.answers["GET", f"{V1}/event/*"] = event
    gap.history.alter_ids = lambda told: {"pdu_ids": [*told["pdu_ids"], top], "auth_chain_ids": told["auth_chain_ids"]}
    last = gap.room.say("after them")
    async with asyncio.timeout(60):
        await gap.send(last)
        await gap.nothing_waits()
    assert gap.asked("event") <= 400
    assert (await gap.alice.request("GET", f"rooms/{gap.room.room_id}/state/m.room.topic"))[0] == 404
    await gap.alice.say(gap.room.room_id, "going on")


async def test_a_long_auth_chain_is_walked_and_not_fallen_over(neighbourhood: Neighbourhood, alice: Person) -> None:
    """Two thousand power levels, each authorised by the one before."""
    room = PeerRoom.create(neighbourhood.peer.author, "11")
    for number in range(2_000):
        content = {"users": {str(room.creator): 100}, "events": {"m.room.topic": number % 50}}
        room.add("m.room.power_levels", content, state_key="")
    room.serve(neighbourhood.peer)
    await alice.join(room.room_id, PEER)
    assert (await alice.state(room.room_id, "m.room.power_levels"))["events"] == {"m.room.topic": 49}


@pytest.mark.parametrize("version", ["1", "2"])
async def test_a_state_that_authorises_itself_lets_nobody_in(
    neighbourhood: Neighbourhood, alice: Person, version: str
) -> None:
    """In v1 and v2, where ids are not hashes: the power levels cite the join rules, and these cite the power levels."""
    room = PeerRoom.create(neighbourhood.peer.author, version)
    levels, rules = room.state["m.room.power_levels", ""], room.state["m.room.join_rules", ""]
    again = {
        event.event_id: room.make(
            event.type,
            dict(event.content),
            state_key="",
            event_id=event.event_id,
            auth_events=(*event.auth_events, other.event_id),
        )
        for event, other in ((levels, rules), (rules, levels))
    }
    room.events |= again
    room.state |= {(event.type, ""): event for event in again.values()}
    room.serve(neighbourhood.peer)
    await alice.refused(502, "M_UNKNOWN", "POST", f"join/{room.room_id}?via={PEER}", {})
    assert room.room_id not in (await alice.sync_now()).get("rooms", {}).get("join", {})


# Answers that drip


async def test_an_answer_that_drips_is_not_waited_for_as_long_as_it_lasts(
    neighbourhood: Neighbourhood, alice: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    remote = neighbourhood.a.process.homeservers[0].homeserver.room_join.remote
    monkeypatch.setattr(remote, "answers", replace(remote.answers, timeout_s=1.0))

    async def drip() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield b" "
            await asyncio.sleep(0.1)

    async def slowly(asked: Asked) -> Any:
        return web.Response(body=drip())

    room = PeerRoom.create(neighbourhood.peer.author)
    room.serve(neighbourhood.peer)
    neighbourhood.peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"] = slowly
    neighbourhood.peer.answers["POST", f"{V1}/user/keys/query"] = slowly
    async with asyncio.timeout(20):
        await alice.refused(502, "M_UNKNOWN", "POST", f"join/{room.room_id}?via={PEER}", {})
        told = await alice.post("keys/query", {"device_keys": {f"@carol:{PEER}": []}, "timeout": 500})
    assert list(told["failures"]) == [PEER]


# Answers of the right form that are far too large, or lead nowhere


async def test_of_a_hundred_thousand_devices_few_are_kept(neighbourhood: Neighbourhood, alice: Person) -> None:
    carol = f"@carol{next(_numbers)}:{PEER}"
    devices = {f"D{number}": {"user_id": carol, "device_id": f"D{number}"} for number in range(100_000)}
    neighbourhood.peer.answers["POST", f"{V1}/user/keys/query"] = {"device_keys": {carol: devices}}
    with growth_bytes() as growth:
        async with asyncio.timeout(30):
            told = await alice.post("keys/query", {"device_keys": {carol: []}})
    assert len(told["device_keys"].get(carol, {})) <= 1_000
    assert growth() < GROWTH_BYTES_MAX


ALIASES: dict[str, Callable[[], dict[str, Any]]] = {
    "a room that there is not": lambda: {"room_id": f"!none:{PEER}", "servers": [PEER]},
    "a room of ours that there is not": lambda: {"room_id": "!none:a.example", "servers": ["a.example"]},
    "ten thousand servers": lambda: {
        "room_id": f"!none:{PEER}",
        "servers": [f"none{number}.example:1" for number in range(3_000)],
    },
    "no servers": lambda: {"room_id": f"!none:{PEER}", "servers": []},
}


@pytest.mark.parametrize("where", ALIASES)
async def test_an_alias_that_leads_nowhere_lets_nobody_in(
    neighbourhood: Neighbourhood, alice: Person, where: str
) -> None:
    neighbourhood.peer.answers["GET", f"{V1}/query/directory"] = ALIASES[where]()
    alias = quote(f"#nowhere{next(_numbers)}:{PEER}")
    async with asyncio.timeout(60):
        status, _ = await alice.request("POST", f"join/{alias}", {})
    assert status in (403, 404, 502)
    assert not (await alice.sync_now()).get("rooms", {}).get("join")
