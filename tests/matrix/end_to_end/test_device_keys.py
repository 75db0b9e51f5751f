"""Identity keys of devices: their form, and the device's own signature.

Spec: https://spec.matrix.org/v1.19/client-server-api/#device-keys
"""

from typing import Any

import nacl.signing
import pytest

from tests.signed_keys import public_part, signed
from tim_server.matrix.end_to_end.device_keys import device_key, read_device_keys
from tim_server.matrix.end_to_end.errors import InvalidSignature
from tim_server.matrix.errors import BadJson, InvalidParam, TooLarge
from tim_server.matrix.identifiers import UserId

ALICE = UserId("@alice:hospital.example")
KEY = nacl.signing.SigningKey(b"1" * 32)


def make_keys(**changes: Any) -> dict[str, Any]:
    """Keys of Alice's device D, signed by it, then changed."""
    keys = {"user_id": ALICE, "device_id": "D", "algorithms": ["a"], "keys": {"ed25519:D": public_part(KEY)}}
    return signed(keys, ALICE, "D", KEY) | changes


def test_what_is_kept_is_what_was_signed_with_the_owners_signatures() -> None:
    keys = make_keys(unsigned={"x": 1})
    keys["signatures"]["@bob:hospital.example"] = {"ed25519:B": "x"}
    kept = read_device_keys(keys, ALICE, "D")
    assert kept == make_keys()
    assert device_key(kept) == public_part(KEY)


def test_a_signature_that_the_device_did_not_make_is_refused() -> None:
    for changes in ({"algorithms": ["b"]}, {"signatures": {ALICE: {"ed25519:D": "x"}}}):
        with pytest.raises(InvalidSignature):
            read_device_keys(make_keys(**changes), ALICE, "D")


@pytest.mark.parametrize(
    "changes",
    [
        {"signatures": {}},
        {"signatures": {ALICE: {}}},
        {"keys": {"ed25519:D": "not a key"}},
        {"keys": {"curve25519:D": "x"}},
        {"keys": {}},
    ],
)
def test_where_nothing_can_be_verified_nothing_is_refused(changes: dict[str, Any]) -> None:
    read_device_keys(make_keys(**changes), ALICE, "D")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"user_id": "@bob:hospital.example"}, InvalidParam),
        ({"device_id": "E"}, InvalidParam),
        ({"device_id": None}, BadJson),
        ({"algorithms": "a"}, BadJson),
        ({"keys": []}, BadJson),
        ({"signatures": []}, BadJson),
        ({"signatures": {ALICE: []}}, BadJson),
        ({"signatures": {ALICE: {"x": 1}}}, BadJson),
        ({"x": 2**53}, BadJson),
        ({"x": "y" * 20_000}, TooLarge),
    ],
)
def test_keys_of_another_form_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_device_keys(make_keys(**changes), ALICE, "D")
