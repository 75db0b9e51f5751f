"""This server as a notary: what it tells of the keys of others."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.federation.rings import KEYS, QUERY
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.signatures import verify_json
from tim_server.services.servers import notary

PEER = "peer.example"


@pytest.fixture(autouse=True)
def peer_that_answers(neighbourhood: Neighbourhood) -> None:
    neighbourhood.peer.answers.clear()


async def query(neighbourhood: Neighbourhood, path: str = f"{QUERY}/{PEER}", body: Any = None) -> list[Any]:
    """What `a.example` tells anybody who asks, without a signature."""
    method = "GET" if body is None else "POST"
    async with neighbourhood.a.session.request(method, path, json=body) as response:
        assert response.status == 200, await response.text()
        documents: list[Any] = (await response.json())["server_keys"]
        return documents


async def test_a_document_is_told_with_the_signatures_of_its_server_and_of_the_notary(
    neighbourhood: Neighbourhood,
) -> None:
    (document,) = await query(neighbourhood)
    own, peer = neighbourhood.a.process.homeservers[0].federation.client.author, neighbourhood.peer.author
    for author in (own, peer):
        verify_json(document, author.server_name, author.key.key_id, author.key.verify_key)
    with pytest.raises(BadSignature):
        verify_json({**document, "more": 1}, own.server_name, own.key.key_id, own.key.verify_key)


async def test_a_document_with_odd_signatures_of_others_spoils_no_answer(neighbourhood: Neighbourhood) -> None:
    document = neighbourhood.peer.key_document()
    document["signatures"]["elsewhere.example"] = 5
    neighbourhood.peer.answers["GET", KEYS] = document
    far = {"ed25519:peer": {"minimum_valid_until_ts": int(time.time() * 1000) + 10**9}}
    neighbourhood.a.process.homeservers[0].federation.keys.memory._known.clear()
    documents = await query(neighbourhood, QUERY, {"server_keys": {PEER: far, "a.example": {}}})
    assert [each["server_name"] for each in documents] == [PEER, "a.example"]
    assert set(documents[0]["signatures"]) == {PEER, "a.example"}


async def test_keys_of_a_server_that_is_gone_are_still_told(neighbourhood: Neighbourhood) -> None:
    (document,) = await query(neighbourhood)
    neighbourhood.peer.answers["GET", KEYS] = web.Response(status=500)
    far = int(time.time() * 1000) + 10**9
    (again,) = await query(neighbourhood, f"{QUERY}/{PEER}?minimum_valid_until_ts={far}")
    assert again["verify_keys"] == document["verify_keys"]


async def test_what_is_good_for_less_than_wanted_is_fetched_anew_but_not_all_the_time(
    neighbourhood: Neighbourhood,
) -> None:
    await query(neighbourhood)
    neighbourhood.peer.requests.clear()
    far = int(time.time() * 1000) + 10**9
    for _ in range(5):
        await query(neighbourhood, f"{QUERY}/{PEER}?minimum_valid_until_ts={far}")
    assert len(neighbourhood.peer.asked(KEYS)) <= 1


async def test_many_are_asked_about_at_once_and_the_unknown_left_out(neighbourhood: Neighbourhood) -> None:
    criteria = {"ed25519:peer": {"minimum_valid_until_ts": 5}}
    wanted = {"a.example": {}, "b.example": {}, PEER: criteria, "127.0.1.1:9": {}}
    documents = await query(neighbourhood, QUERY, {"server_keys": wanted})
    assert [document["server_name"] for document in documents] == ["a.example", "b.example", PEER]
    assert await query(neighbourhood, QUERY, {"server_keys": {}}) == []


async def test_of_too_many_the_first_are_told(neighbourhood: Neighbourhood) -> None:
    gone = {f"127.0.1.{number}:9": {} for number in range(notary.SERVERS_MAX)}
    assert await query(neighbourhood, QUERY, {"server_keys": {**gone, "a.example": {}}}) == []
    assert len(await query(neighbourhood, QUERY, {"server_keys": {"a.example": {}, **gone}})) == 1


@pytest.mark.parametrize(
    "body", [{}, {"server_keys": []}, {"server_keys": {"not a name!": {}}}, {"server_keys": {PEER: {"k": 5}}}]
)
async def test_what_is_no_query_is_refused(neighbourhood: Neighbourhood, body: Any) -> None:
    async with neighbourhood.a.session.post(QUERY, json=body) as response:
        assert response.status == 400


async def test_a_slow_server_does_not_keep_the_others_from_being_told(
    neighbourhood: Neighbourhood, monkeypatch: pytest.MonkeyPatch
) -> None:
    await query(neighbourhood)
    over = asyncio.Event()

    async def slowly(_asked: Any) -> Any:
        await over.wait()
        return web.Response(status=404)

    monkeypatch.setattr(notary, "WAIT_S", 0.3)
    neighbourhood.peer.answers["GET", KEYS] = slowly
    neighbourhood.a.process.homeservers[0].federation.keys.memory._known.clear()
    far = {"ed25519:peer": {"minimum_valid_until_ts": int(time.time() * 1000) + 10**9}}
    began = time.monotonic()
    documents = await query(neighbourhood, QUERY, {"server_keys": {PEER: far, "a.example": {}}})
    assert [document["server_name"] for document in documents] == ["a.example"]
    assert time.monotonic() - began < 5
    over.set()
