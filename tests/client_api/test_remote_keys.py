"""Keys of users of other servers: asked for, checked, remembered while they are told of changes."""

import asyncio
import json
from typing import Any

from aiohttp import web

from tests.conftest import Neighbourhood
from tests.people import Person
from tests.signed_keys import CrossSigning, DeviceIdentity

QUERY = "/_matrix/federation/v1/user/keys/query"
CLAIM = "/_matrix/federation/v1/user/keys/claim"
CAROL = "@carol:peer.example"


def carol_of(neighbourhood: Neighbourhood) -> DeviceIdentity:
    """Somebody at the peer, who has a device."""
    return DeviceIdentity(Person(neighbourhood.peer.session, CAROL, "", "CAROLS"))


async def query(person: Person, *user_ids: str, **more: Any) -> Any:
    return await person.post("keys/query", {"device_keys": {user_id: [] for user_id in user_ids}, **more})


async def test_keys_of_another_hospital_are_queried_and_claimed(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    identity = DeviceIdentity(bob)
    await identity.publish()
    await bob.post("keys/upload", {"one_time_keys": identity.one_time_keys("k1")})
    answer = await query(alice, bob.user_id, alice.user_id)
    assert answer["failures"] == {}
    assert answer["device_keys"][bob.user_id] == {bob.device_id: {**identity.device_keys, "unsigned": {}}}
    wanted = {bob.user_id: {bob.device_id: "signed_curve25519"}}
    claimed = await alice.post("keys/claim", {"one_time_keys": wanted})
    assert list(claimed["one_time_keys"][bob.user_id][bob.device_id]) == ["signed_curve25519:k1"]
    again = await alice.post("keys/claim", {"one_time_keys": wanted})
    assert again == {"failures": {}, "one_time_keys": {}}


async def test_cross_signing_keys_of_another_hospital_are_told(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    keys_of_bob = CrossSigning(bob.user_id)
    await bob.post("keys/device_signing/upload", keys_of_bob.upload)
    answer = await query(alice, bob.user_id)
    assert answer["master_keys"][bob.user_id] == keys_of_bob.key("master")
    assert answer["self_signing_keys"][bob.user_id] == keys_of_bob.key("self_signing")
    assert answer["user_signing_keys"] == {}


async def test_users_who_do_not_exist_there_are_left_out(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    answer = await query(alice, "@nobody:b.example")
    assert (answer["failures"], answer["device_keys"]) == ({}, {})


async def test_a_server_that_can_not_be_reached_is_a_failure_and_others_are_answered(
    neighbourhood: Neighbourhood,
) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    await DeviceIdentity(bob).publish()
    neighbourhood.peer.answers["POST", QUERY] = web.Response(status=500)
    answer = await query(alice, bob.user_id, CAROL)
    assert list(answer["failures"]) == ["peer.example"]
    assert list(answer["device_keys"]) == [bob.user_id]


async def test_a_server_that_is_down_is_not_asked_by_each_query_until_it_is_heard(neighbourhood: Neighbourhood) -> None:
    alice, peer = await neighbourhood.a.person(), neighbourhood.peer
    peer.answers["POST", QUERY] = web.Response(status=502)
    before = len(peer.asked(QUERY))
    for _ in range(5):
        assert list((await query(alice, CAROL))["failures"]) == ["peer.example"]
    assert len(peer.asked(QUERY)) == before + 1
    peer.answers["POST", QUERY] = {"device_keys": {}}
    await peer.ask("a.example", "GET", "/_matrix/federation/v1/version")
    assert (await query(alice, CAROL))["failures"] == {}


async def test_a_slow_server_is_not_waited_for_longer_than_the_client_says(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    over = asyncio.Event()

    async def slowly(_asked: Any) -> Any:
        await over.wait()
        return {"device_keys": {}}

    neighbourhood.peer.answers["POST", QUERY] = slowly
    answer = await query(alice, CAROL, timeout=50)
    over.set()
    assert list(answer["failures"]) == ["peer.example"]


async def test_what_a_server_says_of_users_of_others_or_gets_wrong_is_left_out(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    carol = carol_of(neighbourhood)
    forged = DeviceIdentity(bob).device_keys
    other = DeviceIdentity(Person(neighbourhood.peer.session, CAROL, "", "OTHER")).device_keys
    wrong = {**carol.device_keys, "signatures": {CAROL: {"ed25519:CAROLS": "A" * 86}}}
    devices = {"CAROLS": carol.device_keys, "WRONG": wrong, "OTHER": {**other, "user_id": "@x:peer.example"}, "N": 7}
    neighbourhood.peer.answers["POST", QUERY] = {
        "device_keys": {CAROL: devices, bob.user_id: {bob.device_id: forged}},
        "master_keys": {CAROL: "no key"},
        "self_signing_keys": [],
    }
    answer = await query(alice, CAROL)
    assert list(answer["device_keys"]) == [CAROL]
    assert list(answer["device_keys"][CAROL]) == ["CAROLS"]
    assert answer["master_keys"] == {}


async def test_of_what_is_claimed_only_what_was_asked_for_is_told(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    key = {"key": "x"}
    neighbourhood.peer.answers["POST", CLAIM] = {
        "one_time_keys": {
            CAROL: {"CAROLS": {"other:1": key, "signed_curve25519:1": key, "signed_curve25519:2": key}, "X": {}},
            bob.user_id: {bob.device_id: {"signed_curve25519:1": key}},
        }
    }
    wanted = {CAROL: {"CAROLS": "signed_curve25519"}}
    answer = await alice.post("keys/claim", {"one_time_keys": wanted})
    assert answer["one_time_keys"] == {CAROL: {"CAROLS": {"signed_curve25519:1": key}}}


async def test_a_claimed_key_that_is_no_canonical_json_spoils_none_of_the_others(neighbourhood: Neighbourhood) -> None:
    """These are given out by then: nobody could have them again."""
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    identity = DeviceIdentity(bob)
    await identity.publish()
    await bob.post("keys/upload", {"one_time_keys": identity.one_time_keys("k1")})
    bad = {"one_time_keys": {CAROL: {"CAROLS": {"signed_curve25519:1": {"key": 10**30}}}}}
    neighbourhood.peer.answers["POST", CLAIM] = web.Response(text=json.dumps(bad), content_type="application/json")
    wanted = {CAROL: {"CAROLS": "signed_curve25519"}, bob.user_id: {bob.device_id: "signed_curve25519"}}
    answer = await alice.post("keys/claim", {"one_time_keys": wanted})
    assert list(answer["one_time_keys"]) == [bob.user_id]
