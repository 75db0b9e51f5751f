"""Building events: hashed, named, signed, within the limits, as every other server would read them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#signing-events
"""

import pytest
import signedjson.key
import signedjson.sign
from unpaddedbase64 import encode_base64

from tests.matrix.events.factories import (
    ALL_VERSIONS,
    AUTHOR,
    KEY,
    SERVER,
    create_pdu,
    event_id,
    new_pdu,
    version_name,
)
from tim_server.matrix.canonical_json import decode_lenient, encode_relaxed
from tim_server.matrix.errors import BadJson, TooLarge
from tim_server.matrix.events.build import build_event
from tim_server.matrix.events.hashes import event_id_of, verify_content_hash
from tim_server.matrix.events.read import PDU_BYTES_MAX
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.events.signatures import verify_event_signature
from tim_server.matrix.identifiers import UserId
from tim_server.matrix.room_versions import V1, V5, V6, V10, V11, V12

ORACLE_KEY = signedjson.key.decode_verify_key_bytes(KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_a_built_event_has_its_hash_its_id_and_its_signature(version):
    event, body = build_event(new_pdu(version), version, AUTHOR)
    pdu = decode_lenient(body)
    verify_content_hash(pdu, version)
    verify_event_signature(pdu, version, SERVER, KEY.key_id, KEY.verify_key)
    assert event_id_of(pdu, version) == event.event_id
    assert encode_relaxed(event.pdu) == body


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_signedjson_verifies_a_built_event(version):
    _, body = build_event(new_pdu(version), version, AUTHOR)
    signedjson.sign.verify_signed_json(redact(decode_lenient(body), version), SERVER, ORACLE_KEY)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_the_record_says_what_was_asked_for(version):
    new = new_pdu(version, type="m.room.topic", state_key="", content={"topic": "Ward 3"})
    event, _ = build_event(new, version, AUTHOR)
    for name in ("room_id", "type", "state_key", "sender", "content", "prev_events", "auth_events", "depth"):
        assert getattr(event, name) == getattr(new, name)
    assert event.room_version is version
    assert event.is_state


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_keys_of_the_pdu_are_those_of_the_format(version):
    event, _ = build_event(new_pdu(version), version, AUTHOR)
    expected = {"auth_events", "content", "depth", "hashes", "origin_server_ts", "prev_events", "room_id", "sender"}
    expected |= {"signatures", "type"} | ({"event_id"} if version.identifier in ("1", "2") else set())
    assert event.pdu.keys() == expected


def test_references_are_pairs_in_v1_and_ids_since_v3():
    pdu = decode_lenient(build_event(new_pdu(V1), V1, AUTHOR)[1])
    assert pdu["prev_events"] == [["$p:hospital.example", {}]]
    pdu = decode_lenient(build_event(new_pdu(V11), V11, AUTHOR)[1])
    assert pdu["prev_events"] == [event_id(V11, "p")]


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_what_a_redaction_redacts_goes_where_the_version_has_it(version):
    target = event_id(version, "t")
    new = new_pdu(version, type="m.room.redaction", content={"reason": "spam"}, redacts=target)
    event, _ = build_event(new, version, AUTHOR)
    assert event.redacts == target
    if version in (V11, V12):
        assert event.content == event.pdu["content"] == {"reason": "spam", "redacts": target}
        assert "redacts" not in event.pdu
    else:
        assert event.pdu["redacts"] == target
        assert event.content == {"reason": "spam"}
    assert new.content == {"reason": "spam"}


def test_a_create_event_makes_the_room_id_since_v12():
    event, body = build_event(create_pdu(V12), V12, AUTHOR)
    assert event.room_id == "!" + event.event_id[1:]
    assert b"room_id" not in body
    event, _ = build_event(create_pdu(V11), V11, AUTHOR)
    assert event.room_id == event.pdu["room_id"] == "!ward:hospital.example"


def test_the_event_id_is_given_in_v1_and_v2_only():
    with pytest.raises(ValueError, match="event_id"):
        build_event(new_pdu(V1, event_id=None), V1, AUTHOR)
    with pytest.raises(ValueError, match="event_id"):
        build_event(new_pdu(V11, event_id=event_id(V1)), V11, AUTHOR)


def test_identifiers_may_be_keys_of_the_content():
    content = {"users": {UserId("@alice:hospital.example"): 100}}
    new = new_pdu(V11, type="m.room.power_levels", state_key="", content=content)
    _, body = build_event(new, V11, AUTHOR)
    pdu = decode_lenient(body)
    verify_content_hash(pdu, V11)
    verify_event_signature(pdu, V11, SERVER, KEY.key_id, KEY.verify_key)


@pytest.mark.parametrize("content", [{"a": 0.5}, {"a": [2**53]}, {"a": "\ud800"}, {1: 2}])
def test_content_without_canonical_form_is_bad_json(content):
    with pytest.raises(BadJson):
        build_event(new_pdu(V6, content=content), V6, AUTHOR)


@pytest.mark.parametrize("content", [{"a": 0.5}, {"a": [2**53]}])
def test_floats_and_large_integers_are_sent_until_v5(content):
    event, body = build_event(new_pdu(V5, content=content), V5, AUTHOR)
    assert decode_lenient(body)["content"] == content
    verify_content_hash(event.pdu, V5)


def test_content_nested_too_deeply_is_bad_json():
    deep = {}
    for _ in range(10_000):
        deep = {"a": deep}
    for version in (V5, V11):
        with pytest.raises(BadJson):
            build_event(new_pdu(version, content=deep), version, AUTHOR)


def test_an_event_may_have_65536_bytes():
    _, body = build_event(new_pdu(V11, content={"body": ""}), V11, AUTHOR)
    largest = "x" * (PDU_BYTES_MAX - len(body))
    assert len(build_event(new_pdu(V11, content={"body": largest}), V11, AUTHOR)[1]) == PDU_BYTES_MAX
    with pytest.raises(TooLarge):
        build_event(new_pdu(V11, content={"body": largest + "x"}), V11, AUTHOR)


@pytest.mark.parametrize("key", ["type", "state_key"])
def test_type_and_state_key_may_have_255_bytes(key):
    build_event(new_pdu(V11, **{key: "é" * 127 + "x"}), V11, AUTHOR)
    for too_long in ("é" * 128, "x" * 60_000):
        with pytest.raises(TooLarge):
            build_event(new_pdu(V11, **{key: too_long}), V11, AUTHOR)


@pytest.mark.parametrize("key", ["type", "state_key"])
@pytest.mark.parametrize("value", ["a\0", "\ud800"])
def test_nul_and_lone_surrogates_are_bad_json(key, value):
    with pytest.raises(BadJson):
        build_event(new_pdu(V11, **{key: value}), V11, AUTHOR)


def test_the_signature_is_unpadded_base64_under_the_server_and_key():
    event, _ = build_event(new_pdu(V10), V10, AUTHOR)
    ((server, by_key),) = event.pdu["signatures"].items()
    ((key_id, signature),) = by_key.items()
    assert (server, key_id) == ("hospital.example", "ed25519:a1")
    assert len(signature) == len(encode_base64(bytes(64)))
