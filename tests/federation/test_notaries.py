"""Keys of servers that do not answer, from notaries: what these tell is believed as far as it is signed by both."""

import asyncio
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.federation.rings import HOUR_MS, KEY_ID, KEYS, QUERY, Ring, new_ring
from tests.peer import make_author, run_peer
from tim_server.egress.errors import GateRefused
from tim_server.matrix.canonical_json import decode
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import sign_json
from tim_server.matrix.identifiers import ServerName
from tim_server.trust.verdict import Verdict


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


OLD = make_author("peer.example", seed=3).key
OLD_ID = "ed25519:old"


def former_key(expired_ts: int) -> dict[str, Any]:
    return {"old_verify_keys": {OLD_ID: {"key": unpadded_base64(OLD.verify_key), "expired_ts": expired_ts}}}


async def test_a_notary_may_tell_several_documents_and_a_bad_one_spoils_none(
    neighbourhood: Neighbourhood, ring: Ring
) -> None:
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    async with run_peer(neighbourhood.network, "spare.example", seed=9) as notary:
        old, new = ring.peer.key_document(**former_key(7), valid_until_ts=1000), ring.peer.key_document()
        signed = [sign_json(document, notary.name, notary.author.key) for document in (new, old)]
        notary.answers["POST", QUERY] = {"server_keys": [None, {}, {**new, "server_name": "b.example"}, *signed]}
        ring_ = new_ring(neighbourhood, ring.now, notaries=[notary.name])
        found = await ring_.keys_of(ring.peer.name, [KEY_ID], valid_at_ms=ring.now[0])
        assert list(found) == [KEY_ID]
        assert list(await ring_.keys_of(ring.peer.name, [OLD_ID], valid_at_ms=7)) == [OLD_ID]


async def test_what_a_notary_has_kept_takes_nothing_back_that_the_server_said_later(
    neighbourhood: Neighbourhood, ring: Ring
) -> None:
    kept = ring.peer.key_document(valid_until_ts=ring.now[0] + 1000)
    await ring.ask()
    assert await ring.ask(at=ring.now[0] + HOUR_MS // 2) == [KEY_ID]
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    ring.now[0] += 60_000
    async with run_peer(neighbourhood.network, "spare.example", seed=9) as notary:
        signed = sign_json(kept, notary.name, notary.author.key)
        notary.answers["POST", QUERY] = {"server_keys": [signed]}
        ring_ = new_ring(neighbourhood, ring.now, notaries=[notary.name])
        assert await ring_.keys_of(ring.peer.name, ["ed25519:unknown"], valid_at_ms=None) == {}
        assert notary.asked(QUERY)
        at_ms = ring.now[0] + HOUR_MS // 2
        assert list(await ring_.keys_of(ring.peer.name, [KEY_ID], valid_at_ms=at_ms)) == [KEY_ID]
        document = await ring_.document_of(ring.peer.name, valid_until_ms=0)
        assert document is not None and decode(document)["valid_until_ts"] > kept["valid_until_ts"]


async def test_many_wait_for_a_notary_whose_own_keys_are_not_known_yet(
    neighbourhood: Neighbourhood, ring: Ring
) -> None:
    names = {ServerName(f"127.0.1.{number}:9"): ["ed25519:1"] for number in range(20)}
    async with run_peer(neighbourhood.network, "spare.example", seed=9) as notary:
        notary.answers["POST", QUERY] = {"server_keys": []}
        ring_ = new_ring(neighbourhood, ring.now, notaries=[notary.name])
        await asyncio.wait_for(ring_.prepare(names, timeout_s=60), 30)
        assert len(notary.asked(QUERY)) == len(names)


async def test_notaries_that_are_gone_do_not_wait_for_each_other(neighbourhood: Neighbourhood, ring: Ring) -> None:
    notaries = [ring.peer.name, ServerName("spare.example")]
    ring.peer.answers["GET", KEYS] = web.Response(status=500)
    ring_ = new_ring(neighbourhood, ring.now, notaries=notaries)
    names = (*notaries, ServerName("127.0.1.1:9"))
    asked = [ring_.keys_of(name, ["ed25519:1"], valid_at_ms=None) for name in names]
    assert await asyncio.wait_for(asyncio.gather(*asked), 15) == [{}, {}, {}]
    assert ring.peer.asked(QUERY)


async def test_whom_the_gate_refuses_no_notary_is_asked_about(
    neighbourhood: Neighbourhood, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: set[str] = {ring.peer.name}
    gate = neighbourhood.a.process.homeservers[0].federation.outgoing._gate

    class Gate:
        async def may_contact(self, name: ServerName, /) -> Verdict:
            is_allowed = name not in refused
            return (
                Verdict(is_allowed=is_allowed, reason="not listed") if not is_allowed else await gate.may_contact(name)
            )

    federation = neighbourhood.a.process.homeservers[0].federation
    for client in (federation.outgoing, federation.lookups):
        monkeypatch.setattr(client, "_gate", Gate())
    async with run_peer(neighbourhood.network, "spare.example", seed=9) as notary:
        ring_ = new_ring(neighbourhood, ring.now, notaries=[notary.name])
        assert await ring_.keys_of(ring.peer.name, [KEY_ID], valid_at_ms=None) == {}
        assert (notary.requests, ring.peer.requests) == ([], [])
        with pytest.raises(GateRefused):
            await ring_.document_of(ring.peer.name, valid_until_ms=0)
