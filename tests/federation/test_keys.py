"""Keys of servers: asked for once, kept, refreshed, believed within bounds; over real TLS."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.peer import Peer, run_peer
from tim_server.federation.keys import KeyRing
from tim_server.matrix.events.signatures import sign_json
from tim_server.matrix.identifiers import ServerName

KEYS = "/_matrix/key/v2/server"
QUERY = "/_matrix/key/v2/query"
HOUR_MS = 3_600_000
KEY_ID = "ed25519:peer"


@dataclass
class Ring:
    """A key ring with a clock of its own, as if its server had just started; and the peer."""

    keys: KeyRing
    peer: Peer
    now: list[int]

    async def ask(self, key_id: str = KEY_ID, at: int | None = None) -> list[str]:
        """Which of the keys are had that were valid then."""
        return list(await self.keys.keys_of(self.peer.name, [key_id], valid_at_ms=at))

    def asked(self) -> int:
        return len(self.peer.asked(KEYS))


@pytest.fixture
async def ring(neighbourhood: Neighbourhood) -> AsyncIterator[Ring]:
    opened = neighbourhood.a.process.homeservers[0]
    async with opened.store.database.transaction() as tx:
        await tx.execute("DELETE FROM server_keys")
        await tx.execute("DELETE FROM server_key_documents")
    neighbourhood.peer.answers.clear()
    neighbourhood.peer.requests.clear()
    now = [time.time_ns() // 1_000_000]
    yield Ring(new_ring(neighbourhood, now), neighbourhood.peer, now)


def new_ring(neighbourhood: Neighbourhood, now: list[int], **options: Any) -> KeyRing:
    opened = neighbourhood.a.process.homeservers[0]
    return KeyRing(client=opened.federation.client, store=opened.store, now_ms=lambda: now[0], **options)


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
    ring.now[0] += 11_000
    await ring.ask()
    assert ring.asked() == 2
    ring.now[0] += 11_000
    await ring.ask()
    assert ring.asked() == 2


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


async def test_a_slow_server_holds_up_nobody_for_ever(ring: Ring, monkeypatch: pytest.MonkeyPatch) -> None:
    over = asyncio.Event()

    async def slowly(_asked: Any) -> Any:
        await over.wait()

    from tim_server.federation import keys
    from tim_server.federation.client import RequestBounds

    monkeypatch.setattr(keys, "BOUNDS", RequestBounds(timeout_s=0.2))
    ring.peer.answers["GET", KEYS] = slowly
    assert await ring.ask() == []
    over.set()


async def test_keys_that_nobody_vouches_for_prove_nothing_now_but_old_signatures(
    neighbourhood: Neighbourhood, ring: Ring
) -> None:
    wary = new_ring(neighbourhood, ring.now, is_vouched=lambda _server, finding: finding is not None)
    assert await wary.keys_of_now(ring.peer.name, [KEY_ID]) == {}
    assert list(await wary.keys_of(ring.peer.name, [KEY_ID], valid_at_ms=None)) == [KEY_ID]


async def test_a_notary_helps_where_the_server_does_not_answer(neighbourhood: Neighbourhood, ring: Ring) -> None:
    """`b.example` has the keys of the peer, which is then down."""
    path = f"{QUERY}/{ring.peer.name}"
    status, answer = await ring.peer.ask("b.example", "GET", path)
    assert (status, len(answer["server_keys"])) == (200, 1)
    assert set(answer["server_keys"][0]["signatures"]) == {"peer.example", "b.example"}
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    assert await ring.ask() == []
    with_notary = new_ring(neighbourhood, ring.now, notaries=[ServerName("b.example")])
    assert list(await with_notary.keys_of(ring.peer.name, [KEY_ID], valid_at_ms=None)) == [KEY_ID]


async def test_a_notary_is_believed_only_what_the_server_and_itself_have_signed(
    neighbourhood: Neighbourhood, ring: Ring
) -> None:
    network = neighbourhood.network
    real = ring.peer.key_document()
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    async with run_peer(network, "spare.example", seed=9) as notary:
        signed = sign_json(real, notary.name, notary.author.key)
        later = {**real, "valid_until_ts": real["valid_until_ts"] + 1}
        forged = sign_json(later, notary.name, notary.author.key)
        for documents, wanted in (([], []), ([real], []), ([forged], []), ([signed], [KEY_ID])):
            notary.answers["POST", QUERY] = {"server_keys": documents}
            ring_ = new_ring(neighbourhood, ring.now, notaries=[notary.name])
            assert list(await ring_.keys_of(ring.peer.name, [KEY_ID], valid_at_ms=None)) == wanted


async def test_a_notary_tells_its_own_keys_and_answers_for_many(neighbourhood: Neighbourhood, ring: Ring) -> None:
    body = {"server_keys": {"b.example": {}, "peer.example": {KEY_ID: {}}, "nobody.example": {}}}
    status, answer = await ring.peer.ask("b.example", "POST", QUERY, body)
    assert status == 200
    assert {document["server_name"] for document in answer["server_keys"]} == {"b.example", "peer.example"}
