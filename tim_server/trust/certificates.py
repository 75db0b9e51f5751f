"""Reading X.509 certificates that others made: bounded, and with one error for whatever is wrong with them."""

import hashlib
import ipaddress
from collections.abc import Iterable, Iterator
from typing import TypeVar

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tim_server.matrix.identifiers import ServerName

CERTIFICATE_BYTES_MAX = 16 * 1024
BUNDLE_CERTIFICATES_MAX = 1000

E = TypeVar("E", bound=x509.ExtensionType)


class CertificateRefused(Exception):
    """A certificate may not be used for what it was presented for. `str()` is a short reason, without content."""


def read_certificate(der: bytes) -> x509.Certificate:
    """The certificate in `der`, with all its extensions readable; raises `CertificateRefused`."""
    if len(der) > CERTIFICATE_BYTES_MAX:
        raise CertificateRefused(f"a certificate has more than {CERTIFICATE_BYTES_MAX} bytes")
    try:
        certificate = x509.load_der_x509_certificate(der)
        _ = certificate.extensions, certificate.subject, certificate.issuer
        certificate.public_key()
    except Exception as error:  # whatever a parser trips over in what a stranger sent, the answer is no
        raise CertificateRefused("a certificate is not readable") from error
    return certificate


def read_certificates(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The certificates of a PEM bundle, at least one, as an operator configures them; raises `CertificateRefused`."""
    try:
        found = x509.load_pem_x509_certificates(pem)
    except ValueError as error:
        raise CertificateRefused("no certificates in PEM form") from error
    if len(found) > BUNDLE_CERTIFICATES_MAX:
        raise CertificateRefused(f"more than {BUNDLE_CERTIFICATES_MAX} certificates")
    return tuple(read_certificate(to_der(certificate)) for certificate in found)


def to_der(certificate: x509.Certificate) -> bytes:
    """The certificate's bytes."""
    return certificate.public_bytes(serialization.Encoding.DER)


def certificate_sha256(certificate: x509.Certificate) -> str:
    """The SHA-256 of the whole certificate (DER), in lower-case hexadecimal."""
    return hashlib.sha256(to_der(certificate)).hexdigest()


def public_key_sha256(certificate: x509.Certificate) -> str:
    """The SHA-256 of the certificate's SubjectPublicKeyInfo (DER), which stays when it is renewed with the same key."""
    info = certificate.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(info).hexdigest()


def extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    """The value of the certificate's extension of this kind, None where it has none."""
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None


def is_authority(certificate: x509.Certificate) -> bool:
    """Whether the certificate says that it may issue others."""
    constraints = extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def host_of(server_name: ServerName) -> str:
    """The server name without its port, in lower case; IPv6 addresses without brackets."""
    return server_name.host.lower().strip("[]")


def names_host(certificate: x509.Certificate, host: str) -> bool:
    """Whether a subjectAltName of the certificate is exactly `host`: a dNSName, or an iPAddress for an address.

    The subject's common name does not count, nor do wildcards: they name no server.
    """
    names = extension(certificate, x509.SubjectAlternativeName)
    if names is None:
        return False
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return any(name.lower() == host.lower() for name in names.get_values_for_type(x509.DNSName))
    return address in names.get_values_for_type(x509.IPAddress)


def http_urls(names: Iterable[x509.GeneralName]) -> Iterator[str]:
    """Those of the names that are http or https URLs."""
    for name in names:
        if isinstance(name, x509.UniformResourceIdentifier) and name.value.startswith(("http://", "https://")):
            yield name.value
