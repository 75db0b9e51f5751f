"""Signed documents: compact JWS whose header carries the certificates of the signer, and nothing else.

The header has exactly `alg`, `typ` and `x5c`. No key is taken from elsewhere, there are no critical extensions, and an
algorithm fits one kind of key only. Signatures of ECDSA are raw, R and S side by side.

Spec: https://datatracker.ietf.org/doc/html/rfc7515, https://datatracker.ietf.org/doc/html/rfc7518#section-3
"""

import base64
import binascii
import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from tim_server.matrix.canonical_json import CanonicalJsonError, decode, encode
from tim_server.trust.certificates import CertificateRefused, read_certificate, to_der

HEADER_BYTES_MAX = 64 * 1024
CHAIN_CERTIFICATES_MAX = 5
RSA_BITS_MIN = 2048

_BASE64URL = re.compile(rb"[A-Za-z0-9_-]+")
_HEADER_KEYS = frozenset({"alg", "typ", "x5c"})

PublicKey = ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey | rsa.RSAPublicKey
PrivateKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class JwsRefused(Exception):
    """A document is not signed as it must be. `str()` is a short reason, without content."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDocument:
    """A document as it came. Its signature is not verified yet, and nothing in it can be relied on."""

    algorithm: str
    certificates: tuple[x509.Certificate, ...]
    """The signer's first."""
    payload: bytes
    signed_bytes: bytes
    signature: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """How to sign and verify with one kind of key. `fits` says whether a key is of the kind."""

    fits: Callable[[object], bool]
    sign: Callable[[PrivateKey, bytes], bytes]
    verify: Callable[[PublicKey, bytes, bytes], None]
    """Takes key, signature, data; raises InvalidSignature."""


def _ecdsa(curve: str, hash_algorithm: hashes.HashAlgorithm, size: int) -> Algorithm:
    """ECDSA on one curve; R and S have `size` bytes each."""

    def fits(key: object) -> bool:
        return isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) and key.curve.name == curve

    def sign(key: PrivateKey, data: bytes) -> bytes:
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        r, s = decode_dss_signature(key.sign(data, ec.ECDSA(hash_algorithm)))
        return r.to_bytes(size, "big") + s.to_bytes(size, "big")

    def verify(key: PublicKey, signature: bytes, data: bytes) -> None:
        assert isinstance(key, ec.EllipticCurvePublicKey)
        if len(signature) != 2 * size:  # DER, for one
            raise InvalidSignature
        r, s = int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big")
        key.verify(encode_dss_signature(r, s), data, ec.ECDSA(hash_algorithm))

    return Algorithm(fits=fits, sign=sign, verify=verify)


def _eddsa() -> Algorithm:
    def sign(key: PrivateKey, data: bytes) -> bytes:
        assert isinstance(key, ed25519.Ed25519PrivateKey)
        return key.sign(data)

    def verify(key: PublicKey, signature: bytes, data: bytes) -> None:
        assert isinstance(key, ed25519.Ed25519PublicKey)
        key.verify(signature, data)

    return Algorithm(
        fits=lambda key: isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey), sign=sign, verify=verify
    )


def _rsa_pss() -> Algorithm:
    scheme = padding.PSS(mgf=padding.MGF1(hashes.SHA256()), salt_length=hashes.SHA256.digest_size)

    def sign(key: PrivateKey, data: bytes) -> bytes:
        assert isinstance(key, rsa.RSAPrivateKey)
        return key.sign(data, scheme, hashes.SHA256())

    def verify(key: PublicKey, signature: bytes, data: bytes) -> None:
        assert isinstance(key, rsa.RSAPublicKey)
        key.verify(signature, data, scheme, hashes.SHA256())

    return Algorithm(
        fits=lambda key: isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey) and key.key_size >= RSA_BITS_MIN,
        sign=sign,
        verify=verify,
    )


ALGORITHMS = {
    "ES256": _ecdsa("secp256r1", hashes.SHA256(), 32),
    "ES384": _ecdsa("secp384r1", hashes.SHA384(), 48),
    "EdDSA": _eddsa(),
    "PS256": _rsa_pss(),
}
"""By their names in the header. There is no `none`, and no algorithm with a shared secret."""


def read_jws(
    token: bytes, *, document_type: str, size_bytes_max: int, algorithms: Collection[str] = frozenset(ALGORITHMS)
) -> SignedDocument:
    """Take the document apart, and check its form and header: `typ` is `document_type`, `alg` one of `algorithms`.

    The signature is not verified. Raises `JwsRefused`.
    """
    if len(token) > size_bytes_max:
        raise JwsRefused(f"the document has more than {size_bytes_max} bytes")
    parts = token.split(b".")
    if len(parts) != 3 or len(parts[0]) > HEADER_BYTES_MAX:
        raise JwsRefused("the document is not a compact JWS")
    header = _read_header(_from_base64url(parts[0]))
    algorithm = header["alg"]
    if header["typ"] != document_type:
        raise JwsRefused(f"the document's type is not {document_type}")
    if not isinstance(algorithm, str) or algorithm not in algorithms:
        raise JwsRefused("the document is signed with an algorithm that is not accepted")
    return SignedDocument(
        algorithm=algorithm,
        certificates=_read_x5c(header["x5c"]),
        payload=_from_base64url(parts[1]),
        signed_bytes=token[: len(parts[0]) + 1 + len(parts[1])],
        signature=_from_base64url(parts[2]),
    )


def verify_signature(document: SignedDocument) -> None:
    """Raises `JwsRefused` unless the document was signed with the key of its first certificate.

    Says nothing about whose certificate that is.
    """
    algorithm = ALGORITHMS[document.algorithm]
    key = document.certificates[0].public_key()
    if not algorithm.fits(key):
        raise JwsRefused("the document's algorithm does not fit the key of its certificate")
    assert isinstance(key, PublicKey)
    try:
        algorithm.verify(key, document.signature, document.signed_bytes)
    except InvalidSignature:
        raise JwsRefused("the document's signature is wrong") from None


def sign_jws(payload: bytes, *, document_type: str, key: PrivateKey, certificates: Sequence[x509.Certificate]) -> bytes:
    """A compact JWS over `payload`; `certificates` begins with that of `key`. Raises ValueError for a kind of key that
    there is no algorithm for."""
    name = next((name for name, algorithm in ALGORITHMS.items() if algorithm.fits(key)), None)
    if name is None:
        raise ValueError("documents can be signed with P-256, P-384, Ed25519 and RSA keys")
    x5c = [base64.b64encode(to_der(certificate)).decode() for certificate in certificates]
    header = encode({"alg": name, "typ": document_type, "x5c": x5c})
    signed_bytes = _to_base64url(header) + b"." + _to_base64url(payload)
    return signed_bytes + b"." + _to_base64url(ALGORITHMS[name].sign(key, signed_bytes))


def _read_header(data: bytes) -> dict[str, object]:
    try:
        header = decode(data)
    except CanonicalJsonError:
        raise JwsRefused("the document's header is not JSON") from None
    if not isinstance(header, dict) or header.keys() != _HEADER_KEYS:
        raise JwsRefused("the document's header must have alg, typ and x5c, and nothing else")
    return header


def _read_x5c(value: object) -> tuple[x509.Certificate, ...]:
    if not isinstance(value, list) or not 1 <= len(value) <= CHAIN_CERTIFICATES_MAX:
        raise JwsRefused(f"x5c must be a list of 1 to {CHAIN_CERTIFICATES_MAX} certificates")
    try:
        return tuple(read_certificate(base64.b64decode(each, validate=True)) for each in value)
    except (TypeError, binascii.Error, ValueError):
        raise JwsRefused("x5c must hold certificates in base64") from None
    except CertificateRefused as error:
        raise JwsRefused(str(error)) from None


def _from_base64url(data: bytes) -> bytes:
    if not _BASE64URL.fullmatch(data) or len(data) % 4 == 1:
        raise JwsRefused("the document is not a compact JWS")
    return base64.urlsafe_b64decode(data + b"=" * (-len(data) % 4))


def _to_base64url(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
