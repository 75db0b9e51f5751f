"""What other servers are told of the keys and devices of our users."""

from urllib.parse import quote

from tests.conftest import Neighbourhood
from tests.signed_keys import CrossSigning, DeviceIdentity

QUERY = "/_matrix/federation/v1/user/keys/query"
CLAIM = "/_matrix/federation/v1/user/keys/claim"
DEVICES = "/_matrix/federation/v1/user/devices"


async def test_keys_are_told_without_names_of_devices_and_user_signing_keys(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    identity, signing = DeviceIdentity(alice), CrossSigning(alice.user_id)
    await identity.publish()
    await alice.post("keys/device_signing/upload", signing.upload)
    await alice.put(f"devices/{alice.device_id}", {"display_name": "Alice's phone"})
    body = {"device_keys": {alice.user_id: [], "@nobody:a.example": [], "@bob:b.example": []}}
    status, answer = await neighbourhood.peer.ask("a.example", "POST", QUERY, body)
    assert status == 200
    assert answer == {
        "device_keys": {alice.user_id: {alice.device_id: {**identity.device_keys, "unsigned": {}}}},
        "master_keys": {alice.user_id: signing.key("master")},
        "self_signing_keys": {alice.user_id: signing.key("self_signing")},
    }


async def test_a_one_time_key_is_given_out_once(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    identity = DeviceIdentity(alice)
    await identity.publish()
    await alice.post("keys/upload", {"one_time_keys": identity.one_time_keys("k1")})
    body = {"one_time_keys": {alice.user_id: {alice.device_id: "signed_curve25519"}}}
    _, first = await neighbourhood.peer.ask("a.example", "POST", CLAIM, body)
    _, second = await neighbourhood.peer.ask("a.example", "POST", CLAIM, body)
    assert list(first["one_time_keys"][alice.user_id][alice.device_id]) == ["signed_curve25519:k1"]
    assert second == {"one_time_keys": {}}


async def test_the_devices_of_a_user_are_listed_with_their_keys(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    identity, signing = DeviceIdentity(alice), CrossSigning(alice.user_id)
    await identity.publish()
    await alice.post("keys/device_signing/upload", signing.upload)
    status, answer = await neighbourhood.peer.ask("a.example", "GET", f"{DEVICES}/{quote(alice.user_id)}")
    assert status == 200
    assert answer.pop("stream_id") > 0
    assert answer == {
        "user_id": alice.user_id,
        "devices": [{"device_id": alice.device_id, "keys": identity.device_keys}],
        "master_key": signing.key("master"),
        "self_signing_key": signing.key("self_signing"),
    }


async def test_devices_of_others_are_not_found(neighbourhood: Neighbourhood) -> None:
    for user_id in ("@nobody:a.example", "@bob:b.example"):
        status, answer = await neighbourhood.peer.ask("a.example", "GET", f"{DEVICES}/{quote(user_id)}")
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")
