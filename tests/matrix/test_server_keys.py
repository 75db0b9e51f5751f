"""Key documents: what is believed of what a server says about its keys."""

from typing import Any

import nacl.signing
import pytest

from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, sign_json
from tim_server.matrix.server_keys import TRUST_MS_MAX, ServerKey, merged, read_key_document

NAME, NOW = "a.example", 1_700_000_000_000
KEY = SigningKey(key_id="ed25519:1", key=nacl.signing.SigningKey(b"\x01" * 32))
OTHER = SigningKey(key_id="ed25519:2", key=nacl.signing.SigningKey(b"\x02" * 32))


def key(of: SigningKey, **more: Any) -> dict[str, Any]:
    return {"key": unpadded_base64(of.verify_key), **more}


def document(*signers: SigningKey, **changes: Any) -> dict[str, Any]:
    value: dict[str, Any] = {
        "server_name": NAME,
        "verify_keys": {KEY.key_id: key(KEY)},
        "old_verify_keys": {},
        "valid_until_ts": NOW + 1000,
        **changes,
    }
    for signer in signers or (KEY,):
        value = sign_json(value, NAME, signer)
    return value


def read(value: Any) -> Any:
    return read_key_document(value, NAME, fetched_ts=NOW)


def test_keys_in_use_are_valid_as_long_as_the_document_says_but_seven_days_at_most() -> None:
    assert read(document()).keys == {KEY.key_id: ServerKey(verify_key=KEY.verify_key, valid_until_ts=NOW + 1000)}
    assert read(document(valid_until_ts=NOW * 2)).valid_until_ts == NOW + TRUST_MS_MAX


def test_old_keys_are_valid_until_they_expired() -> None:
    found = read(document(old_verify_keys={OTHER.key_id: key(OTHER, expired_ts=NOW - 1000)}))
    old = found.keys[OTHER.key_id]
    assert old.was_valid(NOW - 1000) and not old.was_valid(NOW - 999) and old.was_valid(None)


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        document(server_name="b.example"),
        document(valid_until_ts="soon"),
        document(valid_until_ts=True),
        document(verify_keys={}),
        document(verify_keys={"rsa:1": key(KEY)}),
        document(verify_keys={KEY.key_id: {"key": "short"}}),
        document(verify_keys={KEY.key_id: {}}),
        document(verify_keys={KEY.key_id: {"key": 7}}),
        {**document(), "valid_until_ts": NOW + 5000},
        {name: item for name, item in document().items() if name != "signatures"},
        document(KEY, verify_keys={KEY.key_id: key(KEY), OTHER.key_id: key(OTHER)}),
        document(verify_keys={f"ed25519:{number}": key(KEY) for number in range(101)}),
    ],
)
def test_what_is_not_the_servers_and_signed_by_each_of_its_keys_is_refused(value: Any) -> None:
    with pytest.raises(BadSignature):
        read(value)


def test_keys_of_unknown_algorithms_are_left_out() -> None:
    keys = {KEY.key_id: key(KEY), "future:1": {"key": "whatever"}}
    assert list(read(document(verify_keys=keys)).keys) == [KEY.key_id]


def test_a_key_never_becomes_another_one_or_less_than_it_was() -> None:
    mine, longer = ServerKey(verify_key=b"a", valid_until_ts=10), ServerKey(verify_key=b"a", valid_until_ts=20)
    old, another = (
        ServerKey(verify_key=b"a", valid_until_ts=5, is_old=True),
        ServerKey(verify_key=b"b", valid_until_ts=99),
    )
    assert merged({"k": mine}, {"k": longer}) == {"k": longer}
    assert merged({"k": longer}, {"k": mine}) == {"k": longer}
    assert merged({"k": longer}, {"k": another}) == {"k": longer}
    assert merged({"k": longer}, {"k": old}) == {"k": old}
    assert merged({"k": old}, {"k": longer}) == {"k": old}
    assert merged({"k": mine}, {"l": another}) == {"k": mine, "l": another}
