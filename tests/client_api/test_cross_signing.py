"""Cross-signing over real HTTP.

Spec: https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

import asyncio
from dataclasses import dataclass
from typing import Any

import pytest

from tests.client_api.test_device_management import auth_of, log_in
from tests.people import Hospital, Person
from tests.signed_keys import CrossSigning, DeviceIdentity

UPLOAD, SIGN = "keys/device_signing/upload", "keys/signatures/upload"


@dataclass
class Signer:
    """A person with a device and cross-signing keys, all of them published."""

    person: Person
    device: DeviceIdentity
    keys: CrossSigning

    @property
    def user_id(self) -> str:
        return self.person.user_id

    async def sees(self, *others: "Signer") -> Any:
        """What a query about these tells."""
        return await self.person.post("keys/query", {"device_keys": {other.user_id: [] for other in others}})

    async def signs(self, objects: dict[str, dict[str, Any]]) -> Any:
        """The failures of an upload of signatures."""
        return (await self.person.post(SIGN, objects))["failures"]

    async def verifies(self, other: "Signer") -> Any:
        """Sign another's master key; the failures."""
        value = self.keys.sign("user_signing", other.keys.key("master"))
        return await self.signs({other.user_id: {other.keys.id_of("master"): value}})

    async def signs_device(self) -> Any:
        """Sign one's own device; the failures."""
        value = self.keys.sign("self_signing", self.device.device_keys)
        return await self.signs({self.user_id: {self.person.device_id: value}})


async def new_signer(hospital: Hospital) -> Signer:
    person = await hospital.person()
    signer = Signer(person, DeviceIdentity(person), CrossSigning(person.user_id))
    await signer.device.publish()
    await person.post(UPLOAD, signer.keys.upload)
    return signer


async def test_the_user_signing_key_is_only_for_its_owner(hospital: Hospital) -> None:
    alice, bob = await new_signer(hospital), await new_signer(hospital)
    own, others = await alice.sees(alice), await bob.sees(alice)
    for answer in (own, others):
        assert answer["master_keys"] == {alice.user_id: alice.keys.key("master")}
        assert answer["self_signing_keys"] == {alice.user_id: alice.keys.key("self_signing")}
    assert own["user_signing_keys"] == {alice.user_id: alice.keys.key("user_signing")}
    assert others["user_signing_keys"] == {}


async def test_the_same_keys_again_need_no_password_and_others_do(hospital: Hospital) -> None:
    alice = await new_signer(hospital)
    assert await alice.person.post(UPLOAD, alice.keys.upload) == {}
    assert await alice.person.post(UPLOAD, {"self_signing_key": alice.keys.key("self_signing")}) == {}
    other = CrossSigning(alice.user_id)
    assert (await alice.person.expect(401, "POST", UPLOAD, other.upload))["flows"]
    own_master = alice.keys.sign("master", other.key("user_signing") | {"signatures": {}})
    await alice.person.expect(401, "POST", UPLOAD, {"user_signing_key": own_master})
    assert (await alice.sees(alice))["master_keys"] == {alice.user_id: alice.keys.key("master")}
    await alice.person.post(UPLOAD, {"user_signing_key": own_master, **auth_of(alice.person)})
    assert (await alice.sees(alice))["user_signing_keys"] == {alice.user_id: own_master}


def changed(keys: CrossSigning, usage: str, /, **changes: Any) -> dict[str, Any]:
    return {f"{usage}_key": keys.key(usage) | changes}


async def test_keys_that_are_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    keys, other = CrossSigning(alice.user_id), CrossSigning(alice.user_id)
    key_id = f"ed25519:{keys.id_of('master')}"
    refused: list[tuple[dict[str, Any], int, str]] = [
        ({}, 400, "M_MISSING_PARAM"),
        ({"self_signing_key": keys.key("self_signing")}, 400, "M_MISSING_PARAM"),
        (changed(keys, "master", user_id="@bob:hospital.example"), 400, "M_INVALID_PARAM"),
        (changed(keys, "master", usage=["self_signing"]), 400, "M_INVALID_PARAM"),
        (changed(keys, "master", keys={}), 400, "M_BAD_JSON"),
        (changed(keys, "master", keys={key_id: "x"}), 400, "M_INVALID_PARAM"),
        (changed(keys, "master", keys={"ed25519:x": "x"}), 400, "M_INVALID_PARAM"),
        (changed(keys, "master", keys={key_id: 1}), 400, "M_INVALID_PARAM"),
        (changed(keys, "master", extra="x" * 20_000), 413, "M_TOO_LARGE"),
        (changed(keys, "master", signatures=[]), 400, "M_BAD_JSON"),
        ({"master_key": "x"}, 400, "M_BAD_JSON"),
        (changed(keys, "master") | changed(other, "self_signing"), 400, "M_INVALID_SIGNATURE"),
        (changed(keys, "master") | changed(keys, "user_signing", signatures={}), 400, "M_INVALID_SIGNATURE"),
    ]
    for body, status, errcode in refused:
        await alice.refused(status, errcode, "POST", UPLOAD, body)
    await log_in(alice, keys.id_of("self_signing"))
    await alice.refused(403, "M_FORBIDDEN", "POST", UPLOAD, keys.upload)
    answer = await alice.post("keys/query", {"device_keys": {alice.user_id: []}})
    assert answer["master_keys"] == answer["self_signing_keys"] == {}


async def test_of_two_first_uploads_at_once_one_wins(hospital: Hospital) -> None:
    alice = await hospital.person()
    keys = [CrossSigning(alice.user_id) for _ in range(4)]
    answers = await asyncio.gather(*(alice.request("POST", UPLOAD, of_one.upload) for of_one in keys))
    assert sorted(status for status, _ in answers) == [200, 401, 401, 401]


async def test_a_signature_of_an_own_device_is_seen_by_everybody(hospital: Hospital) -> None:
    alice, bob = await new_signer(hospital), await new_signer(hospital)
    assert await alice.signs_device() == {}
    assert await alice.signs_device() == {}
    expected = alice.keys.sign("self_signing", alice.device.device_keys)["signatures"]
    for reader in (alice, bob):
        device = (await reader.sees(alice))["device_keys"][alice.user_id][alice.person.device_id]
        assert device["signatures"] == expected
    await alice.device.publish()  # without the signature: it stays
    device = (await bob.sees(alice))["device_keys"][alice.user_id][alice.person.device_id]
    assert device["signatures"] == expected


async def test_a_device_signs_the_master_key_of_its_user(hospital: Hospital) -> None:
    alice, bob = await new_signer(hospital), await new_signer(hospital)
    master = alice.device.sign(alice.keys.key("master"))
    assert await alice.signs({alice.user_id: {alice.keys.id_of("master"): master}}) == {}
    assert (await bob.sees(alice))["master_keys"] == {alice.user_id: master}


async def test_signatures_of_devices_that_are_gone_go_with_the_next_one(hospital: Hospital) -> None:
    alice = await new_signer(hospital)
    master = alice.keys.sign("master", alice.keys.key("master"))
    own = alice.device.sign(master)
    for device_id in ("OLD", "NEW"):
        there = await log_in(alice.person, device_id)
        device = DeviceIdentity(there)
        await device.publish()
        assert await alice.signs({alice.user_id: {alice.keys.id_of("master"): device.sign(master)}}) == {}
        if device_id == "OLD":
            await there.post("logout")
    assert await alice.signs({alice.user_id: {alice.keys.id_of("master"): own}}) == {}
    signatures = (await alice.sees(alice))["master_keys"][alice.user_id]["signatures"][alice.user_id]
    assert set(signatures) == {f"ed25519:{name}" for name in ("NEW", alice.person.device_id)}


async def test_an_authentication_is_for_the_keys_that_it_was_begun_for(hospital: Hospital) -> None:
    alice = await new_signer(hospital)
    mine, others = CrossSigning(alice.user_id), CrossSigning(alice.user_id)
    session = (await alice.person.expect(401, "POST", UPLOAD, mine.upload))["session"]
    auth = auth_of(alice.person)["auth"] | {"session": session}
    await alice.person.refused(403, "M_FORBIDDEN", "POST", UPLOAD, {**others.upload, "auth": auth})
    await alice.person.post(UPLOAD, {**mine.upload, "auth": auth})
    assert (await alice.sees(alice))["master_keys"] == {alice.user_id: mine.key("master")}


async def test_who_has_verified_whom_is_seen_only_by_those_who_did(hospital: Hospital) -> None:
    alice, bob, carol = [await new_signer(hospital) for _ in range(3)]
    assert await alice.verifies(bob) == {}
    verified = alice.keys.sign("user_signing", bob.keys.key("master"))
    assert (await alice.sees(bob))["master_keys"] == {bob.user_id: verified}
    assert (await bob.sees(bob))["master_keys"] == {bob.user_id: bob.keys.key("master")}
    assert (await carol.sees(bob))["master_keys"] == {bob.user_id: bob.keys.key("master")}


async def test_each_signature_fails_for_itself(hospital: Hospital) -> None:
    alice, bob, carol = [await new_signer(hospital) for _ in range(3)]
    tablet = DeviceIdentity(await log_in(alice.person, "TABLET"))
    await tablet.publish()
    device = alice.device.device_keys
    objects = {
        alice.user_id: {
            alice.person.device_id: alice.keys.sign("self_signing", device),
            "TABLET": alice.keys.sign("user_signing", tablet.device_keys),
            "NOPE": alice.keys.sign("self_signing", device | {"device_id": "NOPE"}),
            alice.keys.id_of("master"): alice.keys.key("master"),
        },
        bob.user_id: {
            bob.keys.id_of("master"): alice.keys.sign("user_signing", bob.keys.key("master") | {"more": 1}),
            bob.person.device_id: alice.keys.sign("user_signing", bob.device.device_keys),
            "x": 1,
        },
        carol.user_id: {carol.keys.id_of("master"): alice.keys.sign("self_signing", carol.keys.key("master"))},
        "@nobody:elsewhere.example": {"x": {}},
    }
    failures = await alice.signs(objects)
    errcodes = {user: {key: error["errcode"] for key, error in of_user.items()} for user, of_user in failures.items()}
    assert errcodes == {
        alice.user_id: {
            "TABLET": "M_INVALID_SIGNATURE",
            "NOPE": "M_NOT_FOUND",
            alice.keys.id_of("master"): "M_INVALID_SIGNATURE",
        },
        bob.user_id: {
            bob.keys.id_of("master"): "M_INVALID_PARAM",
            bob.person.device_id: "M_NOT_FOUND",
            "x": "M_BAD_JSON",
        },
        carol.user_id: {carol.keys.id_of("master"): "M_INVALID_SIGNATURE"},
        "@nobody:elsewhere.example": {"x": "M_NOT_FOUND"},
    }
    seen = await alice.sees(alice, bob, carol)
    assert len(seen["device_keys"][alice.user_id][alice.person.device_id]["signatures"][alice.user_id]) == 2
    assert "signatures" not in seen["master_keys"][carol.user_id]


async def test_a_new_master_key_takes_old_keys_and_signatures_with_it(hospital: Hospital) -> None:
    alice, bob = await new_signer(hospital), await new_signer(hospital)
    await alice.signs_device()
    await alice.verifies(bob)
    await bob.verifies(alice)
    keys = CrossSigning(alice.user_id)
    await alice.person.post(UPLOAD, {"master_key": keys.key("master"), **auth_of(alice.person)})
    seen = await alice.sees(alice, bob)
    assert seen["master_keys"] == {alice.user_id: keys.key("master"), bob.user_id: bob.keys.key("master")}
    assert list(seen["self_signing_keys"]) == [bob.user_id]
    assert seen["user_signing_keys"] == {}
    device = seen["device_keys"][alice.user_id][alice.person.device_id]
    assert device["signatures"] == alice.device.device_keys["signatures"]
    assert (await bob.sees(alice))["master_keys"] == {alice.user_id: keys.key("master")}


async def test_signatures_without_the_keys_that_make_them(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await new_signer(hospital)
    signer = Signer(alice, DeviceIdentity(alice), CrossSigning(alice.user_id))
    await signer.device.publish()
    assert (await signer.signs_device())[alice.user_id][alice.device_id]["errcode"] == "M_NOT_FOUND"
    failures = await signer.verifies(bob)
    assert failures[bob.user_id][bob.keys.id_of("master")]["errcode"] == "M_NOT_FOUND"


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"@a:b": []}, 400, "M_BAD_JSON"),
        ({"nobody": {}}, 400, "M_INVALID_PARAM"),
        ({"@a:b": {str(number): {} for number in range(501)}}, 413, "M_TOO_LARGE"),
    ],
)
async def test_uploads_of_signatures_that_are_malformed(
    hospital: Hospital, body: Any, status: int, errcode: str
) -> None:
    await (await hospital.person()).refused(status, errcode, "POST", SIGN, body)


async def test_the_old_paths_do_the_same(hospital: Hospital) -> None:
    alice = await hospital.person()
    old = "/_matrix/client/unstable/"
    keys = CrossSigning(alice.user_id)
    assert await alice.post(old + UPLOAD, keys.upload) == {}
    assert await alice.post(old + SIGN, {}) == {"failures": {}}
