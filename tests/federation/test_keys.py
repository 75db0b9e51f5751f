"""Keys of servers: asked for once, kept, refreshed, believed within bounds; over real TLS."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.federation.rings import HOUR_MS, KEY_ID, KEYS, Ring, new_ring
from tim_server.egress.errors import RemoteUnreachable
from tim_server.federation import fetch_keys, key_memory, keys
from tim_server.federation.client import RequestBounds
from tim_server.matrix.identifiers import ServerName


async def test_keys_are_asked_for_once_and_kept_over_a_restart(neighbourhood: Neighbourhood, ring: Ring) -> None:
    found = await asyncio.gather(*(ring.ask() for _ in range(5)))
    assert found == [[KEY_ID]] * 5
    restarted = Ring(new_ring(neighbourhood, ring.now), ring.peer, ring.now)
    assert await restarted.ask() == [KEY_ID]
    assert ring.asked() == 1


async def test_keys_are_refreshed_when_half_of_their_life_is_over(ring: Ring) -> None:
    await ring.ask()
    ring.now[0] += 20 * 60_000
    assert await ring.ask() == [KEY_ID]
    ring.now[0] += 20 * 60_000
    assert await ring.ask() == [KEY_ID]
    await asyncio.sleep(0.2)
    assert ring.asked() == 2


async def test_an_event_from_after_a_key_was_valid_is_not_signed_with_it(ring: Ring) -> None:
    assert await ring.ask(at=ring.now[0]) == [KEY_ID]
    assert await ring.ask(at=ring.now[0] + 8 * 24 * HOUR_MS) == []
    assert await ring.ask(at=None) == [KEY_ID]


async def test_a_server_that_is_gone_leaves_its_keys_for_what_it_signed(ring: Ring) -> None:
    await ring.ask()
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    ring.now[0] += 30 * 24 * HOUR_MS
    assert await ring.ask(at=ring.now[0] - 30 * 24 * HOUR_MS) == [KEY_ID]
    assert await ring.keys.keys_of_now(ring.peer.name, [KEY_ID]) == {}


async def test_a_server_that_does_not_answer_is_not_asked_all_the_time(ring: Ring) -> None:
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    for _ in range(5):
        assert await ring.ask() == []
    assert ring.asked() == 1
    for seconds, asked in ((29, 1), (2, 2), (59, 2), (2, 3)):
        ring.now[0] += seconds * 1000
        await ring.ask()
        assert ring.asked() == asked


async def test_a_key_that_the_server_does_not_have_is_not_asked_for_all_the_time(ring: Ring) -> None:
    for number in range(20):
        assert await ring.ask(f"ed25519:made-up-{number}") == []
    assert ring.asked() == 1


@pytest.mark.parametrize(
    "answer",
    [
        web.Response(status=404),
        web.Response(text="no JSON"),
        web.Response(text="[" * 60_000),
        web.Response(text="x" * 100_000),
        {"server_name": "peer.example", "verify_keys": {}, "valid_until_ts": 1},
    ],
)
async def test_what_is_no_key_document_is_not_believed(ring: Ring, answer: Any) -> None:
    ring.peer.answers["GET", KEYS] = answer
    assert await ring.ask() == []


async def test_the_keys_of_another_server_are_not_believed(neighbourhood: Neighbourhood, ring: Ring) -> None:
    ring.peer.answers["GET", KEYS] = ring.peer.key_document(server_name="b.example")
    assert await ring.ask() == []


@pytest.mark.parametrize(
    "name", ["xn--a", "xn--a.example", "a..b", "-", "peer.example:99999", "[::::]", "999.999.999.999"]
)
async def test_names_that_can_be_no_servers_have_no_keys(ring: Ring, name: str) -> None:
    """They are to be had from anybody, as senders of events and as origins of requests."""
    for _ in range(2):
        assert await ring.keys.keys_of(ServerName.parse(name), ["ed25519:1"], valid_at_ms=None) == {}
        assert await ring.keys.keys_of_now(ServerName.parse(name), ["ed25519:1"]) == {}
        ring.now[0] += 700_000


async def test_made_up_servers_do_not_stand_in_the_way_of_the_keys_of_events(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends requests in the names of servers that do not answer is told so, once there are too many of them."""
    asked: list[str] = []
    over = asyncio.Event()

    async def hang(_client: Any, server_name: ServerName, *, now_ms: int) -> Any:
        asked.append(server_name)
        await over.wait()
        raise RemoteUnreachable("over")

    monkeypatch.setattr(keys, "fetch_keys", hang)
    monkeypatch.setattr(keys, "STRANGERS_AT_ONCE_MAX", 2)
    ring.keys.wait_s = 0.2
    names = [ServerName(f"stranger{number}.example") for number in range(5)]
    for name in names:
        assert await ring.keys.keys_of_now(name, ["ed25519:1"]) == {}
    assert asked == names[:2]
    await ring.keys.keys_of(names[4], ["ed25519:1"], valid_at_ms=None)
    assert asked == [*names[:2], names[4]]
    over.set()

    async def is_asked() -> bool:
        await ring.keys.keys_of_now(names[3], ["ed25519:1"])
        return names[3] in asked

    await eventually(is_asked)


async def test_servers_that_are_driven_out_of_memory_meanwhile_are_known_all_the_same(
    ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    await ring.ask()
    memory = ring.keys.memory
    load = key_memory.load_server_keys

    async def driven_out(*arguments: Any) -> Any:
        memory._known.clear()
        return await load(*arguments)

    monkeypatch.setattr(key_memory, "load_server_keys", driven_out)
    known = await memory.load([ring.peer.name, ServerName("other.example")])
    assert list(known[ring.peer.name].keys) == [KEY_ID]


async def test_a_slow_server_holds_up_nobody_for_ever(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def slowly(_asked: Any) -> Any:
        await over.wait()

    monkeypatch.setattr(fetch_keys, "BOUNDS", RequestBounds(timeout_s=0.2))
    ring.peer.answers["GET", KEYS] = slowly
    assert await ring.ask() == []
    over.set()
