"""Cross-signing keys: their form, and the master key's signature.

Spec: https://spec.matrix.org/v1.19/client-server-api/#cross-signing
"""

from typing import Any

import pytest

from tests.signed_keys import CrossSigning
from tim_server.matrix.end_to_end.cross_signing import USAGES, check_signed_by_master, read_cross_signing_key
from tim_server.matrix.end_to_end.errors import InvalidSignature
from tim_server.matrix.errors import BadJson, InvalidParam, TooLarge
from tim_server.matrix.identifiers import UserId

ALICE = UserId("@alice:hospital.example")
KEYS = CrossSigning(ALICE)


@pytest.mark.parametrize("usage", USAGES)
def test_a_key_is_named_after_itself(usage: str) -> None:
    key = read_cross_signing_key(KEYS.key(usage), usage, ALICE)
    assert (key.public_key, key.key_id, key.value) == (
        KEYS.id_of(usage),
        f"ed25519:{KEYS.id_of(usage)}",
        KEYS.key(usage),
    )


def test_signatures_of_others_are_not_kept() -> None:
    signatures = {"signatures": {"@bob:hospital.example": {"ed25519:x": "y"}}}
    assert read_cross_signing_key(KEYS.key("master") | signatures, "master", ALICE).value == KEYS.key("master")


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"user_id": "@bob:hospital.example"}, InvalidParam),
        ({"usage": "master"}, InvalidParam),
        ({"usage": ["user_signing"]}, InvalidParam),
        ({"keys": {"ed25519:a": "a", "ed25519:b": "b"}}, BadJson),
        ({"keys": {"ed25519:a": "a"}}, InvalidParam),
        ({"keys": {f"curve25519:{KEYS.id_of('master')}": KEYS.id_of("master")}}, InvalidParam),
        ({"x": 1.5}, BadJson),
        ({"x": "y" * 20_000}, TooLarge),
    ],
)
def test_keys_of_another_form_are_refused(changes: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        read_cross_signing_key(KEYS.key("master") | changes, "master", ALICE)


def test_other_keys_must_be_signed_by_the_master_key() -> None:
    key = read_cross_signing_key(KEYS.key("self_signing"), "self_signing", ALICE)
    check_signed_by_master(key, ALICE, KEYS.id_of("master"))
    with pytest.raises(InvalidSignature):
        check_signed_by_master(key, ALICE, CrossSigning(ALICE).id_of("master"))
