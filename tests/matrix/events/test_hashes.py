"""Content hashes, reference hashes and event ids.

Spec: https://spec.matrix.org/v1.19/server-server-api/#calculating-the-reference-hash-for-an-event
"""

import hashlib
import re

import canonicaljson
import pytest

from tests.matrix.events.factories import ALL_VERSIONS, AUTHOR, new_pdu, version_name
from tim_server.matrix.canonical_json import CanonicalJsonError
from tim_server.matrix.errors import BadSignature
from tim_server.matrix.events.build import build_event
from tim_server.matrix.events.hashes import (
    content_hash,
    decode_base64,
    event_id_from_hash,
    event_id_of,
    reference_hash,
    unpadded_base64,
    verify_content_hash,
)
from tim_server.matrix.events.redaction import redact
from tim_server.matrix.identifiers import InvalidIdentifier
from tim_server.matrix.room_versions import V1, V2, V3, V4, V5, V6, V11, V12


def pdu_of(version, **changes):
    """The PDU of a message."""
    return build_event(new_pdu(version, **changes), version, AUTHOR)[0].pdu


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_the_content_hash_covers_all_but_unsigned_signatures_and_hashes(version):
    pdu = pdu_of(version)
    rest = {key: value for key, value in pdu.items() if key not in ("unsigned", "signatures", "hashes")}
    digest = hashlib.sha256(canonicaljson.encode_canonical_json(rest)).digest()
    assert content_hash(pdu, version) == unpadded_base64(digest) == pdu["hashes"]["sha256"]
    assert content_hash({**pdu, "unsigned": {"age": 1}, "signatures": {}}, version) == content_hash(pdu, version)
    assert content_hash({**pdu, "extra": 1}, version) != content_hash(pdu, version)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_the_reference_hash_covers_the_redacted_event_without_signatures(version):
    pdu = pdu_of(version)
    redacted = {key: value for key, value in redact(pdu, version).items() if key != "signatures"}
    assert reference_hash(pdu, version) == hashlib.sha256(canonicaljson.encode_canonical_json(redacted)).digest()


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_a_redacted_event_keeps_its_id_but_not_its_content_hash(version):
    pdu = pdu_of(version)
    assert event_id_of(redact(pdu, version), version) == event_id_of(pdu, version)
    with pytest.raises(BadSignature):
        verify_content_hash(redact(pdu, version), version)


@pytest.mark.parametrize("version", ALL_VERSIONS, ids=version_name)
def test_the_content_hash_of_a_built_event_verifies(version):
    pdu = pdu_of(version)
    verify_content_hash(pdu, version)
    verify_content_hash({**pdu, "hashes": {"sha256": pdu["hashes"]["sha256"] + "="}}, version)


@pytest.mark.parametrize("hashes", [None, {}, [], {"sha256": None}, {"sha256": 5}, {"sha256": "é"}, {"sha256": "aaaa"}])
def test_missing_and_wrong_content_hashes_do_not_verify(hashes):
    with pytest.raises(BadSignature):
        verify_content_hash({**pdu_of(V11), "hashes": hashes}, V11)


def test_the_content_hash_of_what_has_no_canonical_form_does_not_verify():
    with pytest.raises(BadSignature):
        verify_content_hash({**pdu_of(V11), "content": {"a": 0.5}}, V11)


def test_the_form_of_event_ids():
    assert event_id_of(pdu_of(V1), V1) == event_id_of(pdu_of(V2), V2) == "$new:hospital.example"
    digest = bytes([0xFB, 0xEF, 0xFF]) * 10 + b"ab"
    assert event_id_from_hash(digest, V3) == "$" + "++//" * 10 + "YWI"
    assert event_id_from_hash(digest, V4) == event_id_from_hash(digest, V12) == "$" + "--__" * 10 + "YWI"


@pytest.mark.parametrize("version", ALL_VERSIONS[2:], ids=version_name)
def test_event_ids_are_made_of_the_reference_hash_since_v3(version):
    pdu = pdu_of(version)
    event_id = event_id_of(pdu, version)
    assert re.fullmatch(r"\$[A-Za-z0-9+/_-]{43}", event_id)
    standard = event_id[1:].replace("-", "+").replace("_", "/")
    assert decode_base64(standard) == reference_hash(pdu, version)


@pytest.mark.parametrize("event_id", [None, 5, "", "new:hospital.example", "$nodomain"])
def test_event_ids_of_v1_must_be_stated_and_name_a_server(event_id):
    with pytest.raises(InvalidIdentifier):
        event_id_of({**pdu_of(V1), "event_id": event_id}, V1)


@pytest.mark.parametrize("content", [{"a": 0.5}, {"a": 2**60}])
def test_floats_and_large_integers_are_hashed_until_v5_only(content):
    create = {"type": "m.room.power_levels", "state_key": "", "content": {"users": content}}
    assert content_hash(create, V5) != content_hash({**create, "content": {}}, V5)
    assert len(reference_hash(create, V5)) == 32
    for function in (content_hash, reference_hash):
        with pytest.raises(CanonicalJsonError):
            function(create, V6)


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"", ""), (b"f", "Zg"), (b"fo", "Zm8"), (b"foo", "Zm9v"), (b"foob", "Zm9vYg"), (b"foobar", "Zm9vYmFy")],
)
def test_unpadded_base64_examples(data, text):
    assert unpadded_base64(data) == text
    assert decode_base64(text) == data
    assert decode_base64(text + "=" * (-len(text) % 4)) == data


@pytest.mark.parametrize("text", ["a", "é", "ab c", "a\nbc", "!!!!"])
def test_what_is_no_base64_is_refused(text):
    with pytest.raises(ValueError, match="Base64"):
        decode_base64(text)
