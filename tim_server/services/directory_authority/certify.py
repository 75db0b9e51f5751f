"""The X.509 side of an authority: its root, what it issues, and its revocation list. Values in, values out."""

import ipaddress
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.state import Issued
from tim_server.trust.usages import DIRECTORY_SIGNING

ROOT_LIFETIME = timedelta(days=3650)
BACKDATED = timedelta(minutes=10)
"""How long before they are made certificates and lists begin: clocks differ."""
RSA_BITS_MIN = 2048
EC_BITS_MIN = 256
_NAME_BYTES_MAX = 64
_ENCRYPTED = b"BEGIN ENCRYPTED PRIVATE KEY"

Extensions = Sequence[tuple[x509.ExtensionType, bool]]


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyPair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey


@dataclass(frozen=True, slots=True, kw_only=True)
class Validity:
    """From when to when, aware and in UTC."""

    begins: datetime
    ends: datetime


def make_root(name: str, now: datetime) -> KeyPair:
    """A new root, with a new key. It certifies no other authorities."""
    key = new_key()
    names = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _fitting(name))])
    extensions: Extensions = [
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (_key_usage(is_authority=True), True),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
    ]
    validity = Validity(begins=now - BACKDATED, ends=now + ROOT_LIFETIME)
    builder = _builder(names, names, key.public_key(), validity)
    return KeyPair(certificate=_sign(builder, extensions, key), key=key)


def make_signer(root: KeyPair, *, authority_name: str, crl_url: str, validity: Validity) -> KeyPair:
    """A certificate that signs directories and does nothing else, with a new key."""
    key = new_key()
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, _fitting(authority_name, ", directory"))])
    usage = x509.ExtendedKeyUsage([x509.ObjectIdentifier(DIRECTORY_SIGNING)])
    return KeyPair(
        certificate=_issue(root, subject, key.public_key(), validity, [(usage, False), _crl_at(crl_url)]), key=key
    )


def make_server_certificate(
    root: KeyPair,
    public_key: CertificatePublicKeyTypes,
    *,
    organisation_name: str,
    hosts: Sequence[str],
    crl_url: str,
    validity: Validity,
) -> x509.Certificate:
    """The certificate of a member's server, for TLS on both sides; `hosts` are names and addresses."""
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, _fitting(organisation_name))]
    if len(hosts[0]) <= _NAME_BYTES_MAX:
        attributes.append(x509.NameAttribute(NameOID.COMMON_NAME, hosts[0]))
    extensions: Extensions = [
        (x509.SubjectAlternativeName([_general_name(host) for host in hosts]), False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]), False),
        _crl_at(crl_url),
    ]
    return _issue(root, x509.Name(attributes), public_key, validity, extensions)


def make_crl(root: KeyPair, *, number: int, revoked: Iterable[Issued], validity: Validity) -> bytes:
    """The revocation list, DER."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=root.certificate.subject, last_update=validity.begins, next_update=validity.ends
    )
    for extension in (x509.CRLNumber(number), _issuer_key(root)):
        builder = builder.add_extension(extension, critical=False)
    for each in revoked:
        assert each.revoked is not None
        entry = x509.RevokedCertificateBuilder().serial_number(each.serial).revocation_date(each.revoked)
        builder = builder.add_revoked_certificate(entry.build())
    return builder.sign(root.key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)


def new_key() -> ec.EllipticCurvePrivateKey:
    """A new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def to_pem(certificate: x509.Certificate) -> bytes:
    """The certificate, PEM."""
    return certificate.public_bytes(serialization.Encoding.PEM)


def key_to_pem(key: ec.EllipticCurvePrivateKey, passphrase: bytes | None = None) -> bytes:
    """The private key, PEM, encrypted where there is a passphrase."""
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if passphrase is not None:
        encryption = serialization.BestAvailableEncryption(passphrase)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def read_anchor(pem: bytes) -> x509.Certificate:
    """The authority's own certificate; raises `AuthorityFailed`."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise AuthorityFailed("anchors.pem is not readable; restore it from a backup") from None


def read_key_pair(certificate: bytes, key: bytes, passphrase: bytes | None = None) -> KeyPair:
    """The pair in PEM form; `passphrase` is for an encrypted key. Raises `AuthorityFailed`, also where the two don't
    belong together."""
    is_encrypted = _ENCRYPTED in key
    if is_encrypted and passphrase is None:
        raise AuthorityFailed(
            "the authority's keys are encrypted; give their passphrase in TIM_SERVER_AUTHORITY_PASSPHRASE, or in a "
            "file: tim-server trust authority --passphrase-file"
        )
    try:
        loaded = x509.load_pem_x509_certificate(certificate)
        private = serialization.load_pem_private_key(key, password=passphrase if is_encrypted else None)
    except (ValueError, TypeError):
        reason = ", unless the passphrase is wrong" if is_encrypted else ""
        raise AuthorityFailed(
            f"a certificate or key of the authority is not readable; restore it from a backup{reason}"
        ) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.public_key() != loaded.public_key():
        raise AuthorityFailed("a key of the authority is not that of its certificate; restore both from a backup")
    return KeyPair(certificate=loaded, key=private)


@dataclass(frozen=True, slots=True, kw_only=True)
class SigningRequest:
    """What counts of a certificate signing request: its key, and the names in its subjectAltName, as text."""

    public_key: CertificatePublicKeyTypes
    names: tuple[str, ...]


def read_request(data: bytes) -> SigningRequest:
    """A certificate signing request, PEM or DER, which proves to have the private key. Raises `AuthorityFailed`."""
    try:
        is_pem = data.lstrip().startswith(b"-----BEGIN")
        request = x509.load_pem_x509_csr(data) if is_pem else x509.load_der_x509_csr(data)
        if not request.is_signature_valid:
            raise AuthorityFailed("the certificate signing request is not signed with the key that it is for")
        key = request.public_key()
        names = tuple(_names_asked_for(request))
    except (ValueError, UnsupportedAlgorithm):
        raise AuthorityFailed("the file is not a certificate signing request (PKCS #10, PEM or DER)") from None
    if not _is_strong(key):
        raise AuthorityFailed("the request is for a key that is too weak: take P-256, Ed25519, or RSA of 2048 bits")
    return SigningRequest(public_key=key, names=names)


def _names_asked_for(request: x509.CertificateSigningRequest) -> Iterator[str]:
    for extension in request.extensions:
        if isinstance(extension.value, x509.SubjectAlternativeName):
            yield from (str(name.value).lower() for name in extension.value)


def _fitting(name: str, ending: str = "") -> str:
    """`name`, cut where it must be, and `ending`: as much as a name in a certificate may have."""
    return name.encode()[: _NAME_BYTES_MAX - len(ending)].decode(errors="ignore") + ending


def _is_strong(key: CertificatePublicKeyTypes) -> bool:
    if isinstance(key, rsa.RSAPublicKey):
        return key.key_size >= RSA_BITS_MIN
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.curve.key_size >= EC_BITS_MIN
    return isinstance(key, ed25519.Ed25519PublicKey)


def _issue(
    root: KeyPair,
    subject: x509.Name,
    public_key: CertificatePublicKeyTypes,
    validity: Validity,
    extensions: Extensions,
) -> x509.Certificate:
    """A certificate of an end entity."""
    if validity.ends > root.certificate.not_valid_after_utc:
        day = root.certificate.not_valid_after_utc.date().isoformat()
        raise AuthorityFailed(
            f"the root's certificate expires on {day}: issue for a shorter time, or found a new authority"
        )
    common: Extensions = [
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (_key_usage(is_authority=False), True),
        (x509.SubjectKeyIdentifier.from_public_key(public_key), False),
        (_issuer_key(root), False),
    ]
    builder = _builder(subject, root.certificate.subject, public_key, validity)
    return _sign(builder, [*common, *extensions], root.key)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, validity: Validity
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public_key,
        serial_number=x509.random_serial_number(),
        not_valid_before=validity.begins,
        not_valid_after=validity.ends,
    )


def _sign(
    builder: x509.CertificateBuilder, extensions: Extensions, key: ec.EllipticCurvePrivateKey
) -> x509.Certificate:
    for extension, is_critical in extensions:
        builder = builder.add_extension(extension, is_critical)
    return builder.sign(key, hashes.SHA256())


def _key_usage(*, is_authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not is_authority,
        key_cert_sign=is_authority,
        crl_sign=is_authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(root: KeyPair) -> x509.AuthorityKeyIdentifier:
    return x509.AuthorityKeyIdentifier.from_issuer_public_key(root.key.public_key())


def _crl_at(url: str) -> tuple[x509.ExtensionType, bool]:
    point = x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)
    return x509.CRLDistributionPoints([point]), False


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
