"""From a certificate to an anchor: the chain is found here and then validated after RFC 5280, section 6.

Validation itself (signatures, validity, basic constraints, path lengths, key usage of authorities, name constraints,
policies, critical extensions, weak algorithms) is pyhanko-certvalidator's, which also knows brainpool and Ed25519. It
is given one path, and nothing to fetch.
"""

from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from asn1crypto import x509 as asn1_x509
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from pyhanko_certvalidator import ValidationContext
from pyhanko_certvalidator.authority import CertTrustAnchor
from pyhanko_certvalidator.errors import ExpiredError, NotYetValidError, PathError, ValidationError
from pyhanko_certvalidator.path import ValidationPath
from pyhanko_certvalidator.validate import async_validate_path

from tim_server.trust.certificates import CertificateRefused, is_authority, to_der

INTERMEDIATES_MAX = 8
CHAIN_LENGTH_MAX = 6
"""Of certificates in a chain, the first and the anchor among them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """A certificate and those above it, up to an anchor. Only `verify_chain` makes one, so it is valid."""

    certificates: tuple[x509.Certificate, ...]
    """The certificate first, the anchor last; at least two."""

    @property
    def leaf(self) -> x509.Certificate:
        """The certificate that was presented."""
        return self.certificates[0]

    @property
    def issuers(self) -> tuple[x509.Certificate, ...]:
        """Those above the leaf, from the nearest to the anchor."""
        return self.certificates[1:]

    @property
    def valid_until(self) -> datetime:
        """When the first of them expires."""
        return min(certificate.not_valid_after_utc for certificate in self.certificates)


def verify_chain(
    leaf: x509.Certificate,
    *,
    intermediates: Sequence[x509.Certificate],
    anchors: Sequence[x509.Certificate],
    now: datetime,
) -> Chain:
    """The chain from `leaf` over some of `intermediates` to one of `anchors`, valid at `now` (aware, UTC).

    An anchor vouches for others, not for itself: `leaf` must have been issued by one. Raises `CertificateRefused`.
    """
    if len(intermediates) > INTERMEDIATES_MAX:
        raise CertificateRefused(f"more than {INTERMEDIATES_MAX} intermediate certificates")
    certificates = [leaf]
    unused = list(intermediates)
    while True:
        anchor = _issuer_of(certificates[-1], anchors, now)
        if anchor is not None:
            break
        issuer = _issuer_of(certificates[-1], unused, now)
        if issuer is None or len(certificates) + 1 >= CHAIN_LENGTH_MAX:
            raise CertificateRefused("no chain leads from the certificate to an anchor")
        unused.remove(issuer)
        certificates.append(issuer)
    _check_validity(anchor, now)
    _validate_path(certificates, anchor, now)
    return Chain(certificates=(*certificates, anchor))


def _issuer_of(
    certificate: x509.Certificate, candidates: Sequence[x509.Certificate], now: datetime
) -> x509.Certificate | None:
    """Which of the candidates signed `certificate`; of several, as after a renewal, one that is valid now."""
    found = [candidate for candidate in candidates if is_issued_by(certificate, candidate)]
    return next((each for each in found if _is_valid_at(each, now)), found[0] if found else None)


def is_issued_by(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    """Whether the issuer is another certificate, an authority's, whose name and key `certificate` was signed with."""
    if certificate.issuer != issuer.subject or certificate == issuer or not is_authority(issuer):
        return False
    try:
        certificate.verify_directly_issued_by(issuer)
    except (InvalidSignature, UnsupportedAlgorithm, ValueError, TypeError):
        return False
    return True


def _is_valid_at(certificate: x509.Certificate, now: datetime) -> bool:
    return certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc


def _check_validity(anchor: x509.Certificate, now: datetime) -> None:
    if not _is_valid_at(anchor, now):
        raise CertificateRefused("the anchor has expired or is not yet valid")


def _validate_path(certificates: Sequence[x509.Certificate], anchor: x509.Certificate, now: datetime) -> None:
    try:
        leaf, *above = [asn1_x509.Certificate.load(to_der(each), strict=True) for each in certificates]
        root = CertTrustAnchor(asn1_x509.Certificate.load(to_der(anchor), strict=True))
        path = ValidationPath(root, interm=list(reversed(above)), leaf=leaf)
        # what revocation is known of is judged in revocation.py
        context = ValidationContext(trust_roots=[root], moment=now, allow_fetching=False, revocation_mode="soft-fail")
        _run(async_validate_path(context, path))
    except ExpiredError:
        raise CertificateRefused("a certificate of the chain has expired") from None
    except NotYetValidError:
        raise CertificateRefused("a certificate of the chain is not yet valid") from None
    except (PathError, ValidationError) as error:
        raise CertificateRefused(f"the chain is not valid: {str(error)[:300]}") from None
    except Exception as error:  # whatever the validator trips over in what a stranger sent, the answer is no
        raise CertificateRefused("the chain can't be validated") from error


def _run(validation: Coroutine[Any, Any, object]) -> None:
    """Run a coroutine that has nothing to wait for, as nothing is fetched."""
    try:
        validation.send(None)
    except StopIteration:
        return
    validation.close()
    raise CertificateRefused("validation of the chain would have to wait for something")
