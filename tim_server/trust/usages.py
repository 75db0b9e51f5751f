"""What a certificate may be used for: key usage, extended key usage, certificate policies."""

from collections.abc import Collection

from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tim_server.trust.certificates import CertificateRefused, extension, is_authority

SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH.dotted_string
CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH.dotted_string
ANY_USAGE = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE.dotted_string
DIRECTORY_SIGNING = "2.25.303387166548147730432645414668168596690"
"""The extended key usage "may sign directories" of our own; below 2.25, where object identifiers are made of UUIDs."""


def check_may_sign(certificate: x509.Certificate) -> None:
    """Raises `CertificateRefused` unless the certificate is an end entity's, for digital signatures."""
    if is_authority(certificate):
        raise CertificateRefused("the certificate is an authority's, which issues others and does nothing else")
    usage = extension(certificate, x509.KeyUsage)
    if usage is None or not usage.digital_signature:
        raise CertificateRefused("the certificate's key usage does not include digitalSignature")


def extended_usages(certificate: x509.Certificate) -> frozenset[str]:
    """The extended key usages, dotted; empty where the extension is missing."""
    usages = extension(certificate, x509.ExtendedKeyUsage)
    return frozenset() if usages is None else frozenset(usage.dotted_string for usage in usages)


def check_extended_usage(certificate: x509.Certificate, accepted: Collection[str], name: str) -> None:
    """Raises `CertificateRefused` unless the certificate has one of these usages, which are called `name`.

    A certificate for any usage, or without the extension, has none of them.
    """
    if extended_usages(certificate).isdisjoint(accepted):
        raise CertificateRefused(f"the certificate's extended key usage does not include {name}")


def policies(certificate: x509.Certificate) -> frozenset[str]:
    """The certificate policies, dotted."""
    found = extension(certificate, x509.CertificatePolicies)
    return frozenset() if found is None else frozenset(policy.policy_identifier.dotted_string for policy in found)
