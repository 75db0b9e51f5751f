"""Signatures of many events: with the keys that were valid when each was sent, as its room version asks."""

import asyncio
import time
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.federation.rings import HOUR_MS, KEY_ID, KEYS, Ring, new_ring
from tests.peer import make_author
from tim_server.matrix.events.build import Author, NewPdu, build_event
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.events.signatures import SigningKey, sign_event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS

FORMER = SigningKey(key_id="ed25519:former", key=make_author("peer.example", seed=3).key.key)


def event_of(author: Author, sent_ms: int, version: str = "11", **content: Any) -> Event:
    new = NewPdu(
        room_id=RoomId("!room:peer.example"),
        type="m.room.message",
        state_key=None,
        sender=UserId(f"@carol:{author.server_name}"),
        content={"body": "hello", **content},
        prev_events=(),
        auth_events=(),
        depth=1,
        origin_server_ts=sent_ms,
        event_id=EventId("$1:peer.example") if version in ("1", "2") else None,
    )
    return build_event(new, ROOM_VERSIONS[version], author)[0]


def resigned(event: Event, signatures: Any) -> Event:
    return read_stored_pdu({**event.pdu, "signatures": signatures}, event.room_version, event.event_id)


def tell_of_former_key(ring: Ring, expired_ts: int) -> None:
    key = {"key": unpadded_base64(FORMER.verify_key), "expired_ts": expired_ts}
    ring.peer.answers["GET", KEYS] = ring.peer.key_document(old_verify_keys={FORMER.key_id: key})


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
async def test_old_keys_verify_what_was_sent_before_they_expired_and_up_to_version_4_what_comes_later_too(
    ring: Ring, version: str
) -> None:
    tell_of_former_key(ring, expired_ts=5000)
    former = Author(server_name=ring.peer.name, key=FORMER)
    before, after = event_of(former, 5000, version), event_of(former, 5001, version, later=True)
    assert await ring.keys.unverified([before]) == {}
    assert bool(await ring.keys.unverified([after])) == (version not in ("1", "2", "3", "4"))


async def test_old_keys_sign_no_requests(ring: Ring) -> None:
    tell_of_former_key(ring, expired_ts=ring.now[0] + HOUR_MS)
    assert await ring.keys.keys_of_now(ring.peer.name, [FORMER.key_id]) == {}
    assert list(await ring.keys.keys_of_now(ring.peer.name, [KEY_ID])) == [KEY_ID]


async def test_events_from_after_the_document_has_expired_have_it_fetched_anew(ring: Ring) -> None:
    sent_ms = ring.now[0] + 2 * HOUR_MS
    event = event_of(ring.peer.author, sent_ms)
    assert event.event_id in await ring.keys.unverified([event])
    ring.now[0] = sent_ms
    ring.peer.answers["GET", KEYS] = ring.peer.key_document(valid_until_ts=sent_ms + 1)
    assert await ring.keys.unverified([event]) == {}


async def test_one_of_several_signatures_is_enough_and_unknown_ones_are_not_asked_for(ring: Ring) -> None:
    event = event_of(ring.peer.author, ring.now[0])
    await ring.keys.unverified([event])
    ours = event.pdu["signatures"][ring.peer.name]
    for more in ({"ed25519:unknown": "AAAA"}, {"rsa:1": 5}, {FORMER.key_id: None}):
        ring.now[0] += 60_000
        assert await ring.keys.unverified([resigned(event, {ring.peer.name: {**more, **ours}})]) == {}
    assert ring.asked() == 1


@pytest.mark.parametrize(
    "signatures",
    [
        {},
        {"peer.example": {}},
        {"peer.example": []},
        {"peer.example": {KEY_ID: "AAAA"}},
        {"peer.example": {KEY_ID: 7}},
        {"peer.example": {KEY_ID: None}},
        {"peer.example": {f"ed25519:{number}": "AAAA" for number in range(1000)}},
        {"b.example": {KEY_ID: "AAAA"}},
    ],
)
async def test_what_is_not_signed_by_its_server_is_refused(ring: Ring, signatures: Any) -> None:
    good = event_of(ring.peer.author, ring.now[0])
    bad = resigned(event_of(ring.peer.author, ring.now[0], is_bad=True), signatures)
    assert set(await ring.keys.unverified([bad, good])) == {bad.event_id}


async def test_of_very_many_events_exactly_those_are_refused_that_are_not_signed(ring: Ring) -> None:
    events = [event_of(ring.peer.author, ring.now[0], number=number) for number in range(350)]
    others = events[1].pdu["signatures"]
    forged = {number: resigned(events[number], others) for number in (0, 99, 100, 349)}
    mixed = [forged.get(number, event) for number, event in enumerate(events)]
    assert set(await ring.keys.unverified(mixed)) == {event.event_id for event in forged.values()}


async def test_our_own_events_are_verified_with_our_own_keys_former_ones_too(
    neighbourhood: Neighbourhood, ring: Ring
) -> None:
    author = neighbourhood.a.process.homeservers[0].federation.client.author
    old = Author(server_name=author.server_name, key=FORMER)
    events = [event_of(author, 1000), event_of(old, 1000, former=True), event_of(old, 2000)]
    keys = {FORMER.key_id: read_old(1500)}
    with_old = new_ring(neighbourhood, ring.now, own_old_keys=keys)
    assert set(await with_old.unverified(events)) == {events[2].event_id}


def read_old(until_ts: int) -> Any:
    from tim_server.matrix.server_keys import ServerKey

    return ServerKey(verify_key=FORMER.verify_key, valid_until_ts=until_ts, is_old=True)


async def test_events_of_many_servers_that_are_gone_are_refused_in_time(ring: Ring) -> None:
    """The keys of all that are known verify; each that is gone is asked once."""
    authors = [make_author(f"127.0.1.{number}:9", seed=number) for number in range(200)]
    gone = [event_of(author, ring.now[0]) for author in authors]
    good = event_of(ring.peer.author, ring.now[0])
    for _ in range(2):
        began = time.monotonic()
        assert set(await ring.keys.unverified([*gone, good])) == {event.event_id for event in gone}
        assert time.monotonic() - began < 25


async def test_a_server_that_does_not_answer_holds_nobody_up_for_long(neighbourhood: Neighbourhood, ring: Ring) -> None:
    over = asyncio.Event()

    async def slowly(_asked: Any) -> Any:
        await over.wait()
        return web.Response(status=404)

    impatient = new_ring(neighbourhood, ring.now, wait_s=0.2)
    ring.peer.answers["GET", KEYS] = slowly
    event = event_of(ring.peer.author, ring.now[0])
    assert event.event_id in await asyncio.wait_for(impatient.unverified([event]), 5)
    over.set()


async def test_others_get_their_turn_while_thousands_of_events_are_verified(ring: Ring) -> None:
    event = event_of(ring.peer.author, ring.now[0])
    signed = sign_event(event.pdu, event.room_version, ring.peer.name, ring.peer.author.key)
    assert signed["signatures"] == event.pdu["signatures"]
    await ring.keys.unverified([event])
    verifying = asyncio.create_task(ring.keys.unverified([event] * 2_000))
    turns = 0
    while not verifying.done():
        turns += 1
        await asyncio.sleep(0)
    assert await verifying == {}
    assert turns > 10
