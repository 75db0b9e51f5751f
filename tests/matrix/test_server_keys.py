"""Key documents: what is believed of what a server says about its keys."""

from typing import Any

import nacl.signing
import pytest

from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.hashes import unpadded_base64
from tim_server.matrix.events.signatures import SigningKey, sign_json
from tim_server.matrix.server_keys import KEYS_KEPT_MAX, TRUST_MS_MAX, ServerKey, merged, read_key_document

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


@pytest.mark.parametrize("expired_ts", [-1, 10**30, True, "1", None])
def test_old_keys_that_do_not_say_when_they_expired_are_left_out(expired_ts: Any) -> None:
    found = read(document(old_verify_keys={OTHER.key_id: key(OTHER, expired_ts=expired_ts)}))
    assert list(found.keys) == [KEY.key_id]


@pytest.mark.parametrize(
    "value",
    [
        None,
        [],
        document(server_name="b.example"),
        document(valid_until_ts="soon"),
        document(valid_until_ts=True),
        document(valid_until_ts=-1),
        document(valid_until_ts=10**30),
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


MINE = ServerKey(verify_key=b"a", valid_until_ts=10)
LONGER = ServerKey(verify_key=b"a", valid_until_ts=20)
OLD = ServerKey(verify_key=b"a", valid_until_ts=5, is_old=True)
ANOTHER = ServerKey(verify_key=b"b", valid_until_ts=99)


@pytest.mark.parametrize("is_direct", [True, False])
@pytest.mark.parametrize(
    ("known", "newer", "wanted"),
    [
        ({"k": MINE}, {"k": LONGER}, {"k": LONGER}),
        ({"k": LONGER}, {"k": MINE}, {"k": LONGER}),
        ({"k": LONGER}, {"k": ANOTHER}, {"k": LONGER}),
        ({"k": LONGER}, {"k": OLD}, {"k": OLD}),
        ({"k": MINE}, {"l": ANOTHER}, {"k": MINE, "l": ANOTHER}),
    ],
)
def test_a_key_never_becomes_another_one_or_less_than_it_was(
    known: Any, newer: Any, wanted: Any, is_direct: bool
) -> None:
    assert merged(known, newer, is_direct=is_direct) == wanted


def test_only_the_server_itself_says_that_an_old_key_is_in_use_again() -> None:
    assert merged({"k": OLD}, {"k": LONGER}, is_direct=True) == {"k": LONGER}
    assert merged({"k": OLD}, {"k": LONGER}, is_direct=False) == {"k": OLD}


def test_of_too_many_keys_those_are_kept_that_were_valid_last() -> None:
    known = {f"k{number}": ServerKey(verify_key=b"a", valid_until_ts=number) for number in range(KEYS_KEPT_MAX)}
    kept = merged(known, {"new": LONGER, "ancient": ServerKey(verify_key=b"a", valid_until_ts=0)}, is_direct=True)
    assert len(kept) == KEYS_KEPT_MAX and kept["new"] == LONGER and not {"k0", "ancient"} <= set(kept)
