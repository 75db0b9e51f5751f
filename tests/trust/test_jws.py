"""A signed document: what its header may say, which signatures count, and that nothing else is taken for one.

Spec: https://datatracker.ietf.org/doc/html/rfc7515
"""

import base64
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.certificates import Certified, make_certificate
from tests.trust.circle import SIGNER, with_header
from tim_server.trust.certificates import to_der
from tim_server.trust.jws import JwsRefused, read_jws, sign_jws, verify_signature

TYPE = "example+jws"
PAYLOAD = b'{"a": 1}'
RSA_KEY = rsa.generate_private_key(65537, 2048)
TOKEN = sign_jws(PAYLOAD, document_type=TYPE, key=SIGNER.key, certificates=SIGNER.chain)
HEADER, BODY, SIGNATURE = TOKEN.split(b".")


def verify(token: bytes, **options) -> bytes:
    """The payload, once the document is read and its signature verified."""
    document = read_jws(token, document_type=TYPE, size_bytes_max=100_000, **options)
    verify_signature(document)
    return document.payload


def encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def decoded(data: bytes) -> bytes:
    return base64.urlsafe_b64decode(data + b"==")


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
        (RSA_KEY, "PS256"),
    ],
)
def test_each_kind_of_key_signs_with_its_algorithm(key, algorithm):
    signer = make_certificate(None, [], key=key)
    token = sign_jws(PAYLOAD, document_type=TYPE, key=key, certificates=signer.chain)
    assert json.loads(decoded(token.split(b".")[0]))["alg"] == algorithm
    assert verify(token) == PAYLOAD
    with pytest.raises(JwsRefused, match="signature is wrong"):
        verify(b".".join([*token.split(b".")[:2], encoded(decoded(token.split(b".")[2])[::-1])]))


@pytest.mark.parametrize("key", [ec.generate_private_key(ec.SECP521R1()), rsa.generate_private_key(65537, 1024)])
def test_other_kinds_of_keys_sign_nothing(key):
    with pytest.raises(ValueError, match="P-256"):
        sign_jws(PAYLOAD, document_type=TYPE, key=key, certificates=SIGNER.chain)


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "", "HS256", "RS256", "ES512", "BP256R1", "es256", None, 1, ["ES256"]]
)
def test_no_other_algorithm_counts(algorithm):
    with pytest.raises(JwsRefused):
        verify(with_header(TOKEN, alg=algorithm))


def test_a_document_without_a_signature_is_refused():
    for token in (
        HEADER + b"." + BODY + b".",
        HEADER + b"." + BODY,
        with_header(TOKEN, alg="none").rsplit(b".", 1)[0] + b".",
    ):
        with pytest.raises(JwsRefused):
            verify(token)


def test_an_algorithm_that_is_not_enabled_is_refused():
    with pytest.raises(JwsRefused, match="not accepted"):
        verify(TOKEN, algorithms={"ES384"})


@pytest.mark.parametrize("algorithm", ["ES384", "EdDSA", "PS256"])
def test_the_algorithm_must_fit_the_key_of_the_certificate(algorithm):
    with pytest.raises(JwsRefused, match="does not fit"):
        verify(with_header(TOKEN, alg=algorithm))


def test_a_weak_rsa_key_is_refused_whatever_it_signs():
    key = rsa.generate_private_key(65537, 1024)
    weak = make_certificate(None, [], key=key)
    x5c = [base64.b64encode(weak.der).decode()]
    with pytest.raises(JwsRefused, match="does not fit"):
        verify(with_header(TOKEN, alg="PS256", x5c=x5c))


@pytest.mark.parametrize(
    "changes",
    [
        {"typ": "JWT"},
        {"typ": None},
        {"typ": TYPE.upper()},
        {"x5c": None},
        {"x5c": []},
        {"x5c": "text"},
        {"x5c": [1]},
        {"x5c": ["%%"]},
        {"x5c": [base64.b64encode(b"no certificate").decode()]},
        {"x5c": [base64.b64encode(SIGNER.der).decode()] * 6},
        {"crit": ["exp"], "exp": 1},
        {"b64": False},
        {"jwk": {"kty": "EC"}},
        {"jku": "https://evil.example/keys"},
        {"x5u": "https://evil.example/certificate"},
        {"kid": "1"},
    ],
    ids="-".join,
)
def test_the_header_has_what_it_must_have_and_nothing_else(changes):
    with pytest.raises(JwsRefused):
        verify(with_header(TOKEN, **changes))


@pytest.mark.parametrize(
    "token",
    [
        b"",
        b"..",
        b"a.b.c",
        b"\xff\x00",
        TOKEN + b".",
        b"." + TOKEN,
        TOKEN + b"\n",
        TOKEN + b"==",
        TOKEN.replace(b".", b". "),
        encoded(b"[]") + b"." + BODY + b"." + SIGNATURE,
        encoded(b"{") + b"." + BODY + b"." + SIGNATURE,
        json.dumps({"payload": BODY.decode(), "protected": HEADER.decode(), "signature": SIGNATURE.decode()}).encode(),
        TOKEN + b"A" * 100_000,
        b"A" * 80_000 + b".AAAA.AAAA",
    ],
    ids=range(14),
)
def test_what_is_not_a_compact_jws_is_refused(token):
    with pytest.raises(JwsRefused):
        verify(token)


def test_another_payload_is_refused():
    with pytest.raises(JwsRefused, match="signature is wrong"):
        verify(HEADER + b"." + encoded(b'{"a": 2}') + b"." + SIGNATURE)


def test_a_signature_in_the_form_of_der_is_refused():
    raw = decoded(SIGNATURE)
    der = encode_dss_signature(int.from_bytes(raw[:32], "big"), int.from_bytes(raw[32:], "big"))
    SIGNER.certificate.public_key().verify(der, HEADER + b"." + BODY, ec.ECDSA(hashes.SHA256()))
    with pytest.raises(JwsRefused, match="signature is wrong"):
        verify(HEADER + b"." + BODY + b"." + encoded(der))


def test_a_signature_of_zeros_is_refused():
    with pytest.raises(JwsRefused, match="signature is wrong"):
        verify(HEADER + b"." + BODY + b"." + encoded(bytes(64)))


def test_the_key_is_that_of_the_first_certificate():
    other = make_certificate(None, ["other.example"])
    swapped = Certified(other.certificate, SIGNER.key, (SIGNER.certificate,))
    token = sign_jws(PAYLOAD, document_type=TYPE, key=swapped.key, certificates=swapped.chain)
    with pytest.raises(JwsRefused, match="signature is wrong"):
        verify(token)
    assert [to_der(each) for each in read_jws(token, document_type=TYPE, size_bytes_max=100_000).certificates] == [
        other.der,
        SIGNER.der,
    ]


@given(position=st.integers(0, len(TOKEN) - 1), byte=st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_whatever_byte_is_changed_no_other_document_comes_out(position, byte):
    changed = TOKEN[:position] + bytes([byte]) + TOKEN[position + 1 :]
    try:
        assert verify(changed) == PAYLOAD  # the last bits of base64 may say the same
    except JwsRefused:
        assert changed != TOKEN


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_without_a_surprise(token):
    with pytest.raises(JwsRefused):
        verify(token)
