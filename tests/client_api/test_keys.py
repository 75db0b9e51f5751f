"""Keys of devices over real HTTP: publishing, querying, claiming.

Spec: https://spec.matrix.org/v1.19/client-server-api/#key-management
"""

import asyncio
from typing import Any

import pytest

from tests.people import Hospital, Person
from tests.signed_keys import DeviceIdentity

ALGORITHM = "signed_curve25519"


async def query(reader: Person, *people: Person, devices: list[str] | None = None) -> Any:
    """The answer about these people's devices."""
    return await reader.post("keys/query", {"device_keys": {person.user_id: devices or [] for person in people}})


async def claim(reader: Person, owner: Person, algorithm: str = ALGORITHM) -> dict[str, Any]:
    """The key that a claim gets from the owner's device, by name; empty where it gets none."""
    wanted = {owner.user_id: {owner.device_id: algorithm}}
    answer = await reader.post("keys/claim", {"one_time_keys": wanted})
    return dict(answer["one_time_keys"].get(owner.user_id, {}).get(owner.device_id, {}))


async def counts(person: Person) -> dict[str, int]:
    """How many one-time keys the device has, by an upload of nothing."""
    return dict((await person.post("keys/upload"))["one_time_key_counts"])


async def test_device_keys_are_given_out_as_they_were_uploaded(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    identity = DeviceIdentity(alice)
    assert await alice.post("keys/upload", {"device_keys": identity.device_keys}) == {"one_time_key_counts": {}}
    answer = await query(bob, alice, bob)
    assert answer == {
        "device_keys": {alice.user_id: {alice.device_id: identity.device_keys | {"unsigned": {}}}, bob.user_id: {}},
        "failures": {},
        "master_keys": {},
        "self_signing_keys": {},
        "user_signing_keys": {},
    }


async def test_the_display_name_of_a_device_is_told_with_its_keys(hospital: Hospital) -> None:
    alice = await hospital.person()
    await DeviceIdentity(alice).publish()
    await alice.put(f"devices/{alice.device_id}", {"display_name": "Wärd 3"})
    answer = await query(alice, alice)
    unsigned = answer["device_keys"][alice.user_id][alice.device_id]["unsigned"]
    assert unsigned == {"device_display_name": "Wärd 3"}


async def test_a_query_may_name_devices(hospital: Hospital) -> None:
    alice = await hospital.person()
    await DeviceIdentity(alice).publish()
    there = await query(alice, alice, devices=[alice.device_id, "NOPE"])
    assert list(there["device_keys"][alice.user_id]) == [alice.device_id]
    assert (await query(alice, alice, devices=["NOPE"]))["device_keys"] == {alice.user_id: {}}


async def test_unknown_users_are_left_out_and_other_servers_are_failures(hospital: Hospital) -> None:
    alice = await hospital.person()
    wanted: dict[str, Any] = {"@nobody:hospital.example": [], "@bob:elsewhere.example": []}
    answer = await alice.post("keys/query", {"device_keys": wanted})
    assert answer["device_keys"] == {}
    assert list(answer["failures"]) == ["elsewhere.example"]
    claims = {user_id: {"D": ALGORITHM} for user_id in wanted}
    answer = await alice.post("keys/claim", {"one_time_keys": claims})
    assert answer["one_time_keys"] == {}
    assert list(answer["failures"]) == ["elsewhere.example"]


def without(name: str) -> Any:
    return lambda keys: {key: value for key, value in keys.items() if key != name}


def with_(**changes: Any) -> Any:
    return lambda keys: keys | changes


@pytest.mark.parametrize(
    ("change", "errcode"),
    [
        (without("algorithms"), "M_BAD_JSON"),
        (without("keys"), "M_BAD_JSON"),
        (without("signatures"), "M_BAD_JSON"),
        (with_(algorithms=["x", 1]), "M_BAD_JSON"),
        (with_(keys={"ed25519:x": 1}), "M_BAD_JSON"),
        (with_(signatures={"@x:y": "z"}, user_id=1), "M_BAD_JSON"),
        (with_(extra=1.5), "M_BAD_JSON"),
        (with_(user_id="@other:hospital.example"), "M_INVALID_PARAM"),
        (with_(device_id="OTHER"), "M_INVALID_PARAM"),
        (with_(algorithms=["something else"]), "M_INVALID_SIGNATURE"),
    ],
)
async def test_device_keys_that_are_refused(hospital: Hospital, change: Any, errcode: str) -> None:
    alice = await hospital.person()
    identity = DeviceIdentity(alice)
    body = {"device_keys": change(identity.device_keys), "one_time_keys": identity.one_time_keys("A")}
    await alice.refused(400, errcode, "POST", "keys/upload", body)
    assert (await query(alice, alice))["device_keys"] == {alice.user_id: {}}
    assert await counts(alice) == {}


async def test_signatures_by_others_are_not_kept(hospital: Hospital) -> None:
    alice = await hospital.person()
    keys = DeviceIdentity(alice).device_keys
    keys["signatures"]["@bob:hospital.example"] = {"ed25519:x": "y"}
    await alice.post("keys/upload", {"device_keys": keys})
    kept = (await query(alice, alice))["device_keys"][alice.user_id][alice.device_id]
    assert list(kept["signatures"]) == [alice.user_id]


async def test_one_time_keys_are_counted_and_claimed_in_the_order_of_their_uploads(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    identity = DeviceIdentity(alice)
    first, second = identity.one_time_keys("Z"), identity.one_time_keys("A", "B")
    assert (await alice.post("keys/upload", {"one_time_keys": first}))["one_time_key_counts"] == {ALGORITHM: 1}
    assert (await alice.post("keys/upload", {"one_time_keys": second}))["one_time_key_counts"] == {ALGORITHM: 3}
    assert await claim(bob, alice) == first
    rest = [await claim(bob, alice), await claim(alice, alice)]
    assert rest[0] | rest[1] == second
    assert await claim(bob, alice) == {}
    assert await counts(alice) == {}


async def test_a_repeated_upload_changes_nothing_and_brings_no_claimed_key_back(hospital: Hospital) -> None:
    alice = await hospital.person()
    keys = DeviceIdentity(alice).one_time_keys("A", "B")
    for _ in range(2):
        assert (await alice.post("keys/upload", {"one_time_keys": keys}))["one_time_key_counts"] == {ALGORITHM: 2}
    claimed = await claim(alice, alice)
    assert (await alice.post("keys/upload", {"one_time_keys": keys}))["one_time_key_counts"] == {ALGORITHM: 1}
    assert claimed | await claim(alice, alice) == keys
    assert await claim(alice, alice) == {}


async def test_another_key_of_the_same_name_is_refused_until_the_first_is_claimed(hospital: Hospital) -> None:
    alice = await hospital.person()
    identity = DeviceIdentity(alice)
    first, other = identity.one_time_keys("A"), identity.one_time_keys("A")
    await alice.post("keys/upload", {"one_time_keys": first})
    body = {"one_time_keys": other | identity.one_time_keys("B"), "device_keys": identity.device_keys}
    await alice.refused(400, "M_INVALID_PARAM", "POST", "keys/upload", body)
    assert await counts(alice) == {ALGORITHM: 1}
    assert (await query(alice, alice))["device_keys"] == {alice.user_id: {}}
    assert await claim(alice, alice) == first
    await alice.post("keys/upload", {"one_time_keys": other})
    assert await claim(alice, alice) == other


async def test_keys_may_be_plain_strings_of_any_algorithm(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.post("keys/upload", {"one_time_keys": {"org.example.x:1": "secret", "org.example.y:1": "other"}})
    assert await counts(alice) == {"org.example.x": 1, "org.example.y": 1}
    assert await claim(alice, alice, "org.example.y") == {"org.example.y:1": "other"}


@pytest.mark.parametrize(
    ("keys", "status", "errcode"),
    [
        ({"signed_curve25519": "x"}, 400, "M_INVALID_PARAM"),
        ({":A": "x"}, 400, "M_INVALID_PARAM"),
        ({"a:": "x"}, 400, "M_INVALID_PARAM"),
        ({"a:" + "b" * 255: "x"}, 400, "M_INVALID_PARAM"),
        ({"signed_curve25519:A": "x"}, 400, "M_BAD_JSON"),
        ({"signed_curve25519:A": {"key": "x"}}, 400, "M_BAD_JSON"),
        ({"a:b": 1}, 400, "M_BAD_JSON"),
        ({"a:b": {"key": 1.5}}, 400, "M_BAD_JSON"),
        ({"a:b": "x" * 10_000}, 413, "M_TOO_LARGE"),
        ({f"a:{number}": "x" for number in range(1_001)}, 413, "M_TOO_LARGE"),
    ],
)
async def test_one_time_keys_that_are_refused(hospital: Hospital, keys: Any, status: int, errcode: str) -> None:
    alice = await hospital.person()
    body = {"one_time_keys": {"x:1": "y"} | keys}
    await alice.refused(status, errcode, "POST", "keys/upload", body)
    assert await counts(alice) == {}


async def test_a_device_can_have_only_so_many_keys(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.post("keys/upload", {"one_time_keys": {f"a:{number}": "x" for number in range(1_000)}})
    await alice.refused(413, "M_TOO_LARGE", "POST", "keys/upload", {"one_time_keys": {"a:more": "x"}})
    fallback = {f"algorithm{number}:x": "y" for number in range(11)}
    await alice.refused(413, "M_TOO_LARGE", "POST", "keys/upload", {"fallback_keys": fallback})
    assert await counts(alice) == {"a": 1_000}


async def test_a_fallback_key_is_given_out_again_and_again_when_no_other_is_left(hospital: Hospital) -> None:
    alice = await hospital.person()
    identity = DeviceIdentity(alice)
    key, fallback = identity.one_time_keys("A"), identity.one_time_keys("F", fallback=True)
    await alice.post("keys/upload", {"one_time_keys": key, "fallback_keys": fallback})
    assert [await claim(alice, alice) for _ in range(3)] == [key, fallback, fallback]
    newer = identity.one_time_keys("G", fallback=True)
    await alice.post("keys/upload", {"fallback_keys": newer})
    assert await claim(alice, alice) == newer


async def test_two_fallback_keys_of_one_algorithm_are_refused(hospital: Hospital) -> None:
    alice = await hospital.person()
    keys = DeviceIdentity(alice).one_time_keys("F", "G", fallback=True)
    await alice.refused(400, "M_INVALID_PARAM", "POST", "keys/upload", {"fallback_keys": keys})


async def test_a_bad_device_does_not_fail_a_claim_of_many(hospital: Hospital) -> None:
    alice, bob, carol = await hospital.person(), await hospital.person(), await hospital.person()
    keys = DeviceIdentity(bob).one_time_keys("A")
    await bob.post("keys/upload", {"one_time_keys": keys})
    wanted = {
        bob.user_id: {"NOPE": ALGORITHM, bob.device_id: ALGORITHM, "": "", "*": "x"},
        carol.user_id: {carol.device_id: ALGORITHM},
        "@nobody:hospital.example": {"D": ALGORITHM},
    }
    answer = await alice.post("keys/claim", {"one_time_keys": wanted})
    assert answer == {"failures": {}, "one_time_keys": {bob.user_id: {bob.device_id: keys}}}


async def test_each_key_is_given_out_once_to_many_who_claim_at_the_same_time(hospital: Hospital) -> None:
    alice, others = await hospital.person(), [await hospital.person() for _ in range(4)]
    keys = DeviceIdentity(alice).one_time_keys(*(f"K{number}" for number in range(60)))
    await alice.post("keys/upload", {"one_time_keys": keys})
    claims = await asyncio.gather(*(claim(others[number % 4], alice) for number in range(80)))
    given = [name for claimed in claims for name in claimed]
    assert sorted(given) == sorted(keys)
    assert await counts(alice) == {}


async def test_a_new_identity_of_a_device_ends_the_keys_of_the_old_one(hospital: Hospital) -> None:
    alice = await hospital.person()
    old, new = DeviceIdentity(alice), DeviceIdentity(alice)
    body = {"device_keys": old.device_keys, "one_time_keys": old.one_time_keys("A")}
    await alice.post("keys/upload", body | {"fallback_keys": old.one_time_keys("F")})
    answer = await alice.post("keys/upload", {"device_keys": new.device_keys, "one_time_keys": new.one_time_keys("A")})
    assert answer["one_time_key_counts"] == {ALGORITHM: 1}
    assert (await claim(alice, alice))["signed_curve25519:A"]
    assert await claim(alice, alice) == {}


@pytest.mark.parametrize(
    ("path", "body", "errcode"),
    [
        ("keys/query", {}, "M_MISSING_PARAM"),
        ("keys/query", {"device_keys": []}, "M_BAD_JSON"),
        ("keys/query", {"device_keys": {"@a:b": {}}}, "M_BAD_JSON"),
        ("keys/query", {"device_keys": {"nobody": []}}, "M_INVALID_PARAM"),
        ("keys/claim", {}, "M_MISSING_PARAM"),
        ("keys/claim", {"one_time_keys": {"@a:b": {"D": 1}}}, "M_BAD_JSON"),
        ("keys/claim", {"one_time_keys": {"nobody": {}}}, "M_INVALID_PARAM"),
        ("keys/upload", {"one_time_keys": []}, "M_BAD_JSON"),
    ],
)
async def test_requests_that_are_malformed(hospital: Hospital, path: str, body: Any, errcode: str) -> None:
    await (await hospital.person()).refused(400, errcode, "POST", path, body)
