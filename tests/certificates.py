"""A certificate authority for tests: certificates of every kind, also bad ones, revocation lists and OCSP responses.

authority = make_ca()
hospital = make_certificate(authority, ["a.example"])
files = hospital.write(folder)                      # PEM files for a listener: files.certificate, files.private_key
crl = make_crl(authority, revoked=[hospital])       # DER
"""

import ipaddress
import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509 import ocsp
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey

NOW = datetime.now(UTC).replace(microsecond=0)
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)

SERVER = ExtendedKeyUsageOID.SERVER_AUTH
CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH
OCSP_SIGNING = ExtendedKeyUsageOID.OCSP_SIGNING


@dataclass(frozen=True)
class TlsFiles:
    """A certificate with what it was issued by, and its key: PEM."""

    certificate: Path
    private_key: Path


@dataclass(frozen=True)
class Certified:
    """A certificate, its key, and the authorities above it (without the root), from the nearest on."""

    certificate: x509.Certificate
    key: Key
    intermediates: tuple[x509.Certificate, ...] = ()

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )

    @property
    def chain(self) -> tuple[x509.Certificate, ...]:
        """The certificate, then its intermediates: what a server presents."""
        return (self.certificate, *self.intermediates)

    def write(self, folder: Path, name: str = "tls") -> TlsFiles:
        """Files for a listener or a client."""
        files = TlsFiles(folder / f"{name}.pem", folder / f"{name}.key.pem")
        files.certificate.write_bytes(b"".join(each.public_bytes(serialization.Encoding.PEM) for each in self.chain))
        files.private_key.touch(mode=0o600)
        files.private_key.write_bytes(self.key_pem)
        return files


@dataclass(frozen=True, kw_only=True)
class KeyUses:
    """The key usage extension."""

    digital_signature: bool = True
    cert_sign: bool = False
    crl_sign: bool = False
    encipherment: bool = False

    def extension(self) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=self.digital_signature,
            key_cert_sign=self.cert_sign,
            crl_sign=self.crl_sign,
            key_encipherment=self.encipherment,
            content_commitment=False,
            data_encipherment=False,
            key_agreement=False,
            encipher_only=False,
            decipher_only=False,
        )


def new_key() -> Key:
    return ec.generate_private_key(ec.SECP256R1())


def make_ca(
    name: str = "authority of the tests",
    *,
    issuer: Certified | None = None,
    key: Key | None = None,
    not_before: datetime = NOW - DAY,
    not_after: datetime = NOW + 90 * DAY,
    path_length: int | None = None,
    key_uses: KeyUses = KeyUses(digital_signature=False, cert_sign=True, crl_sign=True),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Certified:
    """An authority: a root, or one below `issuer`."""
    limits = x509.BasicConstraints(ca=True, path_length=path_length)
    own = [(limits, True), (key_uses.extension(), True), *extensions]
    return _issue(issuer, _name(name), key or new_key(), (not_before, not_after), own)


def make_certificate(
    issuer: Certified | None,
    names: Sequence[str] = ("a.example",),
    usages: Sequence[x509.ObjectIdentifier] | None = (SERVER, CLIENT),
    *,
    key: Key | None = None,
    key_uses: KeyUses | None = KeyUses(),
    common_name: str | None = None,
    subject: x509.Name | None = None,
    not_before: datetime = NOW - DAY,
    not_after: datetime = NOW + 30 * DAY,
    crl_urls: Sequence[str] = (),
    ocsp_urls: Sequence[str] = (),
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> Certified:
    """A certificate for DNS names and addresses; self-signed without an issuer. `usages` or `key_uses` None: the
    extension is not there. `extensions` are further ones, with their criticality."""
    own: list[tuple[x509.ExtensionType, bool]] = [(x509.BasicConstraints(ca=False, path_length=None), True)]
    if names:
        own.append((x509.SubjectAlternativeName([_general_name(name) for name in names]), False))
    if key_uses is not None:
        own.append((key_uses.extension(), True))
    if usages is not None:
        own.append((x509.ExtendedKeyUsage(usages), False))
    if crl_urls:
        own.append((x509.CRLDistributionPoints([_distribution_point(url) for url in crl_urls]), False))
    if ocsp_urls:
        own.append((x509.AuthorityInformationAccess([_ocsp_access(url) for url in ocsp_urls]), False))
    named = subject or _name(common_name or (names[0] if names else "nobody"))
    return _issue(issuer, named, key or new_key(), (not_before, not_after), [*own, *extensions])


def make_crl(
    issuer: Certified,
    revoked: Sequence[Certified] = (),
    *,
    key: Key | None = None,
    last_update: datetime = NOW - HOUR,
    next_update: datetime = NOW + 7 * DAY,
    extensions: Sequence[tuple[x509.ExtensionType, bool]] = (),
) -> bytes:
    """A revocation list, DER. `key` signs instead of the issuer's."""
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=issuer.certificate.subject, last_update=last_update, next_update=next_update
    )
    for extension, is_critical in [(x509.CRLNumber(1), False), *extensions]:
        builder = builder.add_extension(extension, is_critical)
    for each in revoked:
        entry = x509.RevokedCertificateBuilder().serial_number(each.certificate.serial_number)
        builder = builder.add_revoked_certificate(entry.revocation_date(last_update).build())
    signing_key = key or issuer.key
    return builder.sign(signing_key, _hash_for(signing_key)).public_bytes(serialization.Encoding.DER)


def make_ocsp_response(
    issuer: Certified,
    certificate: Certified,
    *,
    is_revoked: bool = False,
    responder: Certified | None = None,
    this_update: datetime = NOW - HOUR,
    next_update: datetime | None = NOW + DAY,
) -> bytes:
    """An OCSP response about one certificate, DER, signed by its issuer or by a `responder` that goes along."""
    signer = responder or issuer
    builder = (
        ocsp.OCSPResponseBuilder()
        .add_response(
            cert=certificate.certificate,
            issuer=issuer.certificate,
            algorithm=hashes.SHA1(),
            cert_status=ocsp.OCSPCertStatus.REVOKED if is_revoked else ocsp.OCSPCertStatus.GOOD,
            this_update=this_update,
            next_update=next_update,
            revocation_time=this_update if is_revoked else None,
            revocation_reason=None,
        )
        .responder_id(ocsp.OCSPResponderEncoding.HASH, signer.certificate)
    )
    if responder is not None:
        builder = builder.certificates([responder.certificate])
    return builder.sign(signer.key, _hash_for(signer.key)).public_bytes(serialization.Encoding.DER)


def _issue(
    issuer: Certified | None,
    subject: x509.Name,
    key: Key,
    validity: tuple[datetime, datetime],
    extensions: Sequence[tuple[x509.ExtensionType, bool]],
) -> Certified:
    signing_key = key if issuer is None else issuer.key
    builder = x509.CertificateBuilder(
        issuer_name=subject if issuer is None else issuer.certificate.subject,
        subject_name=subject,
        public_key=key.public_key(),
        serial_number=int.from_bytes(os.urandom(16), "big") >> 1 | 1,
        not_valid_before=validity[0],
        not_valid_after=validity[1],
    )
    identifiers = [
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(signing_key.public_key()), False),
    ]
    for extension, is_critical in [*extensions, *identifiers]:
        builder = builder.add_extension(extension, is_critical)
    certificate = builder.sign(signing_key, _hash_for(signing_key))
    is_below_root = issuer is None or issuer.certificate.issuer == issuer.certificate.subject
    return Certified(certificate, key, () if issuer is None or is_below_root else issuer.chain)


def _hash_for(key: Key) -> hashes.HashAlgorithm | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _name(common_name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _distribution_point(url: str) -> x509.DistributionPoint:
    return x509.DistributionPoint([x509.UniformResourceIdentifier(url)], None, None, None)


def _ocsp_access(url: str) -> x509.AccessDescription:
    return x509.AccessDescription(x509.oid.AuthorityInformationAccessOID.OCSP, x509.UniformResourceIdentifier(url))
