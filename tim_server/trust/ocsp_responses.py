"""OCSP responses, as fetched or stapled: signed by the authority that issued the certificate in question, or by a
responder that it certified for that.

Spec: https://datatracker.ietf.org/doc/html/rfc6960#section-4.2
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID

from tim_server.trust.certificates import CertificateRefused, extension
from tim_server.trust.chains import is_issued_by
from tim_server.trust.revocation_status import Good, Revoked, Status, Unknown
from tim_server.trust.usages import extended_usages

OCSP_RESPONSE_BYTES_MAX = 64 * 1024
CLOCK_SKEW = timedelta(minutes=5)

_SECURE_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


def read_ocsp_response(der: bytes) -> ocsp.OCSPResponse:
    """The response in `der`; raises `CertificateRefused` for what is none, and for a responder's error."""
    if len(der) > OCSP_RESPONSE_BYTES_MAX:
        raise CertificateRefused(f"an OCSP response has more than {OCSP_RESPONSE_BYTES_MAX} bytes")
    try:
        response = ocsp.load_der_ocsp_response(der)
        is_successful = response.response_status is ocsp.OCSPResponseStatus.SUCCESSFUL
    except Exception as error:  # whatever a parser trips over in what a stranger sent, the answer is no
        raise CertificateRefused("an OCSP response is not readable") from error
    if not is_successful:
        raise CertificateRefused("an OCSP responder answered with an error")
    return response


def judge_by_ocsp(
    certificate: x509.Certificate, issuer: x509.Certificate, response: ocsp.OCSPResponse, now: datetime
) -> Status:
    """What the response says at `now` about a certificate that `issuer` issued."""
    try:
        answers = [each for each in response.responses if _is_about(each, certificate, issuer)]
        is_trusted = bool(answers) and _is_signed(response, issuer, now)
    except Exception:  # a hash or signature algorithm that is not supported, or a response that is broken inside
        return Unknown()
    if not is_trusted:
        return Unknown()
    return _status(answers[0], now)


def _status(answer: ocsp.OCSPSingleResponse, now: datetime) -> Status:
    if answer.next_update_utc is None or not answer.this_update_utc - CLOCK_SKEW <= now <= answer.next_update_utc:
        return Unknown()
    if answer.certificate_status is ocsp.OCSPCertStatus.REVOKED:
        return Revoked()
    if answer.certificate_status is ocsp.OCSPCertStatus.GOOD:
        return Good(holds_until=answer.next_update_utc)
    return Unknown()


def _is_about(answer: ocsp.OCSPSingleResponse, certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    if answer.serial_number != certificate.serial_number:
        return False
    algorithm = answer.hash_algorithm.name
    name_hash = hashlib.new(algorithm, issuer.subject.public_bytes()).digest()
    return answer.issuer_name_hash == name_hash and answer.issuer_key_hash == _key_hash(issuer, algorithm)


def _key_hash(certificate: x509.Certificate, algorithm: str) -> bytes:
    """The hash of the key's bits, as OCSP names an issuer."""
    key = certificate.public_key()
    return hashlib.new(algorithm, _key_bits(key)).digest()


def _key_bits(key: object) -> bytes:
    """What stands in subjectPublicKey."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
    if isinstance(key, rsa.RSAPublicKey):
        return key.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.PKCS1)
    if isinstance(key, ed25519.Ed25519PublicKey):
        return key.public_bytes_raw()
    raise ValueError("a kind of key that is not supported")


def _is_signed(response: ocsp.OCSPResponse, issuer: x509.Certificate, now: datetime) -> bool:
    """By the issuer, or by a responder that it certified for OCSP."""
    signers = [issuer, *_responders(response.certificates, issuer, now)]
    return any(_is_signed_with(response, signer) for signer in signers)


def _responders(
    certificates: Sequence[x509.Certificate], issuer: x509.Certificate, now: datetime
) -> list[x509.Certificate]:
    """Those that the issuer itself certified for OCSP. Who would have to be asked about in turn (without
    id-pkix-ocsp-nocheck) does not count."""
    return [
        each
        for each in certificates[:4]
        if is_issued_by(each, issuer)
        and each.not_valid_before_utc <= now <= each.not_valid_after_utc
        and ExtendedKeyUsageOID.OCSP_SIGNING.dotted_string in extended_usages(each)
        and extension(each, x509.OCSPNoCheck) is not None
    ]


def _is_signed_with(response: ocsp.OCSPResponse, signer: x509.Certificate) -> bool:
    key, algorithm = signer.public_key(), response.signature_hash_algorithm
    signature, data = response.signature, response.tbs_response_bytes
    try:
        if isinstance(key, ed25519.Ed25519PublicKey):
            key.verify(signature, data)
            return True
        if not isinstance(algorithm, _SECURE_HASHES):
            return False
        if isinstance(key, ec.EllipticCurvePublicKey):
            key.verify(signature, data, ec.ECDSA(algorithm))
            return True
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, data, padding.PKCS1v15(), algorithm)
            return True
    except InvalidSignature:
        return False
    return False
