"""Revocation lists: whole ones, signed by the authority that issued the certificate in question.

Lists of one part of the certificates (those of end entities, those of authorities, those of one distribution point)
count for that part. Lists of changes only, of some reasons only, and lists that one authority signs for another do not
count: fail closed, and ask the authority for a plain one.

Spec: https://datatracker.ietf.org/doc/html/rfc5280#section-5
"""

from collections.abc import Iterator
from datetime import datetime, timedelta

from cryptography import x509

from tim_server.trust.certificates import CertificateRefused, extension, http_urls, is_authority
from tim_server.trust.revocation_status import Good, Revoked, Status, Unknown

CRL_BYTES_MAX = 32 * 1024 * 1024
CRL_URLS_MAX = 8
CLOCK_SKEW = timedelta(minutes=5)

_UNDERSTOOD = (x509.IssuingDistributionPoint, x509.AuthorityKeyIdentifier, x509.CRLNumber, x509.FreshestCRL)


def read_crl(data: bytes) -> x509.CertificateRevocationList:
    """The list in `data`, DER or PEM; raises `CertificateRefused`."""
    if len(data) > CRL_BYTES_MAX:
        raise CertificateRefused(f"a revocation list has more than {CRL_BYTES_MAX} bytes")
    try:
        is_pem = data.lstrip().startswith(b"-----BEGIN")
        crl = x509.load_pem_x509_crl(data) if is_pem else x509.load_der_x509_crl(data)
        _ = crl.extensions, crl.issuer, crl.last_update_utc, crl.next_update_utc
    except Exception as error:  # whatever a parser trips over in what a stranger sent, the answer is no
        raise CertificateRefused("a revocation list is not readable") from error
    return crl


def crl_urls(certificate: x509.Certificate) -> tuple[str, ...]:
    """Where the lists are that may name the certificate; http and https only."""
    return tuple(_distribution_point_urls(certificate))[:CRL_URLS_MAX]


def judge_by_crl(
    certificate: x509.Certificate, issuer: x509.Certificate, crl: x509.CertificateRevocationList, now: datetime
) -> Status:
    """What the list says at `now` about a certificate that `issuer` issued."""
    if crl.issuer != issuer.subject or not _is_current(crl, now) or not _covers(crl, certificate):
        return Unknown()
    if not may_sign_crls(issuer) or not _is_signed_by(crl, issuer):
        return Unknown()
    if crl.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None:
        return Revoked()
    assert crl.next_update_utc is not None
    return Good(holds_until=crl.next_update_utc)


def may_sign_crls(issuer: x509.Certificate) -> bool:
    """Whether the authority's key usage allows it; an authority without that extension may."""
    usage = extension(issuer, x509.KeyUsage)
    return usage is None or usage.crl_sign


def _is_current(crl: x509.CertificateRevocationList, now: datetime) -> bool:
    """A list without an end is none: nobody could tell that it is withheld from us."""
    return crl.last_update_utc <= now + CLOCK_SKEW and crl.next_update_utc is not None and now <= crl.next_update_utc


def _covers(crl: x509.CertificateRevocationList, certificate: x509.Certificate) -> bool:
    """Whether the list is complete for certificates such as this one."""
    for each in crl.extensions:
        if each.critical and not isinstance(each.value, _UNDERSTOOD):  # a list of changes among them
            return False
        if isinstance(each.value, x509.DeltaCRLIndicator):
            return False
        if isinstance(each.value, x509.IssuingDistributionPoint) and not _is_in_part(each.value, certificate):
            return False
    return True


def _is_in_part(part: x509.IssuingDistributionPoint, certificate: x509.Certificate) -> bool:
    if part.indirect_crl or part.only_some_reasons or part.only_contains_attribute_certs or part.relative_name:
        return False
    if part.only_contains_user_certs and is_authority(certificate):
        return False
    if part.only_contains_ca_certs and not is_authority(certificate):
        return False
    if part.full_name is None:
        return True
    return not set(http_urls(part.full_name)).isdisjoint(_distribution_point_urls(certificate))


def _distribution_point_urls(certificate: x509.Certificate) -> Iterator[str]:
    points = extension(certificate, x509.CRLDistributionPoints)
    for point in points or ():
        yield from http_urls(point.full_name or ())


def _is_signed_by(crl: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    try:
        return crl.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
    except Exception:  # a kind of key or algorithm that is not supported
        return False
