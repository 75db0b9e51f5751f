"""Signatures: the specification's test vectors, signedjson as oracle, and what does not verify.

Spec: https://spec.matrix.org/v1.19/appendices/#cryptographic-test-vectors
"""

import copy

import nacl.signing
import pytest
import signedjson.key
import signedjson.sign
from hypothesis import given
from hypothesis import strategies as st

from tests.matrix.events.factories import ALL_VERSIONS, AUTHOR, BOB, KEY, OTHER_KEY, SERVER, new_pdu, version_name
from tests.matrix.test_canonical_json import INTEGERS, TEXT, json_values
from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient, encode
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.build import build_event
from tim_server.matrix.events.hashes import content_hash
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.events.signatures import (
    SigningKey,
    decode_base64,
    required_signers,
    sign_event,
    sign_json,
    verify_event_signature,
    verify_json,
)
from tim_server.matrix.room_versions import V1, V2, V3, V7, V8, V11

SEED = "YJDBA9Xnr2sVqXD9Vj7XVUnmFZcZrlw8Md7kMW+3XA1"
VECTOR_KEY = SigningKey(key_id="ed25519:1", key=nacl.signing.SigningKey(decode_base64(SEED)))
ORACLE_KEY = signedjson.key.decode_signing_key_base64("ed25519", "1", SEED)

MINIMAL = {
    "room_id": "!x:domain",
    "sender": "@a:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "signatures": {},
    "hashes": {},
    "type": "X",
    "content": {},
    "prev_events": [],
    "auth_events": [],
    "depth": 3,
    "unsigned": {"age_ts": 1000000},
}
REDACTABLE = {
    "content": {"body": "Here is the message content"},
    "event_id": "$0:domain",
    "origin": "domain",
    "origin_server_ts": 1000000,
    "type": "m.room.message",
    "room_id": "!r:domain",
    "sender": "@u:domain",
    "signatures": {},
    "unsigned": {"age_ts": 1000000},
}

objects = st.dictionaries(TEXT, json_values(INTEGERS), max_size=3).map(
    lambda value: {key: item for key, item in value.items() if key not in ("signatures", "unsigned")}
)


@pytest.mark.parametrize(
    ("value", "signature"),
    [
        ({}, "K8280/U9SSy9IVtjBuVeLr+HpOB4BQFWbg+UZaADMtTdGYI7Geitb76LTrr5QV/7Xg4ahLwYGYZzuHGZKM5ZAQ"),
        (
            {"one": 1, "two": "Two"},
            "KqmLSbO39/Bzb0QIYE82zqLwsA+PDzYIpIRA2sRQ4sL53+sN6/fpNSoqE7BP7vBZhG6kYdD13EIMJpvhJI+6Bw",
        ),
    ],
)
def test_json_signing_vectors(value, signature):
    assert sign_json(value, "domain", VECTOR_KEY) == {**value, "signatures": {"domain": {"ed25519:1": signature}}}


@pytest.mark.parametrize(
    ("pdu", "sha256", "signature"),
    [
        (
            MINIMAL,
            "5jM4wQpv6lnBo7CLIghJuHdW+s2CMBJPUOGOC89ncos",
            "KxwGjPSDEtvnFgU00fwFz+l6d2pJM6XBIaMEn81SXPTRl16AqLAYqfIReFGZlHi5KLjAWbOoMszkwsQma+lYAg",
        ),
        (
            REDACTABLE,
            "onLKD1bGljeBWQhWZ1kaP9SorVmRQNdN5aM2JYU2n/g",
            "Wm+VzmOUOz08Ds+0NTWb1d4CZrVsJSikkeRxh6aCcUwu6pNC78FunoD7KNWzqFn241eYHYMGCA5McEiVPdhzBA",
        ),
    ],
    ids=["minimal", "redactable"],
)
def test_event_signing_vectors(pdu, sha256, signature):
    hashed = {**pdu, "hashes": {"sha256": content_hash(pdu, V1)}}
    signed = sign_event(hashed, V1, "domain", VECTOR_KEY)
    assert signed == {**pdu, "hashes": {"sha256": sha256}, "signatures": {"domain": {"ed25519:1": signature}}}


def test_the_example_of_signed_json_with_its_key_names_what_is_covered():
    value = {"name": "example.org", "unsigned": {"age_ts": 922834800000}}
    signed = sign_json(value, "example.org", VECTOR_KEY)
    assert signed["unsigned"] == value["unsigned"]
    without_unsigned = {key: item for key, item in signed.items() if key != "unsigned"}
    verify_json(without_unsigned, "example.org", "ed25519:1", VECTOR_KEY.verify_key)


@given(objects)
def test_signatures_are_those_of_signedjson(value):
    assert sign_json(value, "domain", VECTOR_KEY) == signedjson.sign.sign_json(
        copy.deepcopy(value), "domain", ORACLE_KEY
    )


@given(objects)
def test_each_verifies_what_the_other_signs(value):
    ours = sign_json(value, "domain", VECTOR_KEY)
    signedjson.sign.verify_signed_json(ours, "domain", signedjson.key.get_verify_key(ORACLE_KEY))
    theirs = signedjson.sign.sign_json(copy.deepcopy(value), "domain", ORACLE_KEY)
    verify_json(theirs, "domain", "ed25519:1", VECTOR_KEY.verify_key)


@given(objects, st.sampled_from(["changed", "added", "removed"]))
def test_a_changed_object_does_not_verify(value, change):
    signed = sign_json({**value, "x": 1}, "domain", VECTOR_KEY)
    if change == "changed":
        signed["x"] = 2
    elif change == "added":
        signed["y" * 50] = 1
    else:
        del signed["x"]
    with pytest.raises(BadSignature):
        verify_json(signed, "domain", "ed25519:1", VECTOR_KEY.verify_key)


def test_a_signature_is_added_to_those_that_are_there():
    once = sign_json({"a": 1}, "hospital.example", KEY)
    second_key = SigningKey(key_id="ed25519:b", key=OTHER_KEY.key)
    twice = sign_json(once, "hospital.example", second_key)
    thrice = sign_json(twice, "clinic.example", OTHER_KEY)
    assert once["signatures"].keys() == {"hospital.example"}
    verify_json(thrice, "hospital.example", "ed25519:a1", KEY.verify_key)
    verify_json(thrice, "hospital.example", "ed25519:b", OTHER_KEY.verify_key)
    verify_json(thrice, "clinic.example", "ed25519:a1", OTHER_KEY.verify_key)


@pytest.mark.parametrize(
    "signatures",
    [
        None,
        [],
        {},
        {"domain": None},
        {"domain": {}},
        {"domain": {"ed25519:1": None}},
        {"domain": {"ed25519:1": "no Base64!"}},
        {"domain": {"ed25519:1": "é"}},
        {"domain": {"ed25519:1": "c2hvcnQ"}},
        {"elsewhere": {"ed25519:1": "K8280/U9SSy9IVtjBuVeLr"}},
    ],
)
def test_missing_and_malformed_signatures_do_not_verify(signatures):
    with pytest.raises(BadSignature):
        verify_json({"signatures": signatures}, "domain", "ed25519:1", VECTOR_KEY.verify_key)


def test_another_key_does_not_verify_nor_one_that_is_no_key():
    signed = sign_json({"a": 1}, "domain", KEY)
    for key in (OTHER_KEY.verify_key, b"short", b""):
        with pytest.raises(BadSignature):
            verify_json(signed, "domain", KEY.key_id, key)


def test_an_algorithm_that_is_not_known_does_not_verify():
    rsa = SigningKey(key_id="rsa:1", key=KEY.key)
    with pytest.raises(BadSignature, match="algorithm"):
        verify_json(sign_json({"a": 1}, "domain", rsa), "domain", "rsa:1", KEY.verify_key)


def test_an_object_without_canonical_form_is_neither_signed_nor_verified():
    with pytest.raises(CanonicalJsonError):
        sign_json({"a": "\ud800"}, "domain", KEY)
    with pytest.raises(BadSignature):
        verify_json({"a": "\ud800", "signatures": {"domain": {"ed25519:1": ""}}}, "domain", "ed25519:1", b"")


def test_base64_with_padding_is_accepted():
    signed = sign_json({"a": 1}, "domain", KEY)
    signed["signatures"]["domain"][KEY.key_id] += "=="
    verify_json(signed, "domain", KEY.key_id, KEY.verify_key)


@given(
    version=st.sampled_from(ALL_VERSIONS),
    content=st.dictionaries(TEXT, json_values(INTEGERS), max_size=3),
    event_type=st.sampled_from(["m.room.member", "x"]),
)
def test_a_signed_event_verifies_after_a_round_trip(version, content, event_type):
    event, body = build_event(new_pdu(version, content=content, type=event_type), version, AUTHOR)
    received = decode_lenient(body)
    assert received == decode_lenient(encode(event.pdu))
    verify_event_signature(received, version, SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_a_redacted_event_verifies_still(version):
    event, _ = build_event(new_pdu(version), version, AUTHOR)
    verify_event_signature(redact(event.pdu, version), version, SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
@pytest.mark.parametrize("key", ["sender", "type", "depth", "origin_server_ts", "hashes", "state_key", "room_id"])
def test_an_event_changed_in_an_essential_key_does_not_verify(version, key):
    event, _ = build_event(new_pdu(version), version, AUTHOR)
    with pytest.raises(BadSignature):
        verify_event_signature({**event.pdu, key: "x"}, version, SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_unsigned_and_the_signatures_of_others_are_not_covered(version):
    event, _ = build_event(new_pdu(version), version, AUTHOR)
    pdu = sign_event({**event.pdu, "unsigned": {"age": 5}}, version, "clinic.example", OTHER_KEY)
    verify_event_signature(pdu, version, SERVER, KEY.key_id, KEY.verify_key)
    verify_event_signature(pdu, version, "clinic.example", OTHER_KEY.key_id, OTHER_KEY.verify_key)


def test_an_event_without_canonical_form_does_not_verify():
    event, _ = build_event(new_pdu(V11), V11, AUTHOR)
    with pytest.raises(BadSignature):
        verify_event_signature({**event.pdu, "depth": 1.5}, V11, SERVER, KEY.key_id, KEY.verify_key)


def signers(version, **changes):
    """Who must have signed an event of these fields."""
    return required_signers(build_event(new_pdu(version, **changes), version, AUTHOR)[0])


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_the_server_of_the_sender_must_sign(version):
    assert signers(version) == {"hospital.example"}


def test_the_server_of_the_event_id_must_sign_too_in_v1_and_v2():
    assert signers(V1, sender=BOB) == signers(V2, sender=BOB) == {"hospital.example", "clinic.example"}
    assert signers(V3, sender=BOB) == {"clinic.example"}


def test_the_server_of_the_sender_need_not_sign_an_invite_through_a_third_party():
    content = {"membership": "invite", "third_party_invite": {}}
    assert signers(V11, type="m.room.member", state_key=BOB, content=content) == set()
    assert signers(V11, type="m.room.other", state_key=BOB, content=content) == {"hospital.example"}
    joins = {**content, "membership": "join"}
    assert signers(V11, type="m.room.member", state_key=BOB, content=joins) == {"hospital.example"}


def test_the_server_that_authorised_a_restricted_join_must_sign_since_v8():
    fields = {"type": "m.room.member", "state_key": "@alice:hospital.example"}
    content = {"membership": "join", "join_authorised_via_users_server": "@dave:lab.example"}
    assert signers(V7, **fields, content=content) == {"hospital.example"}
    assert signers(V8, **fields, content=content) == {"hospital.example", "lab.example"}


@pytest.mark.parametrize("value", [None, 5, "nobody", ["@dave:lab.example"]])
def test_who_authorised_a_restricted_join_must_be_a_user(value):
    fields = {"type": "m.room.member", "state_key": "@alice:hospital.example"}
    with pytest.raises(BadSignature, match="user id"):
        signers(V8, **fields, content={"membership": "join", "join_authorised_via_users_server": value})
