"""Whether a certificate was revoked: by the lists (CRL) and answers (OCSP) of those who issued it.

Nothing is fetched here. `revocation_sources` says what there is to fetch for a chain, and a chain always reaches an
anchor; `check_revocation` judges what was fetched. Fail closed: what nothing valid speaks for is refused.

Spec: https://datatracker.ietf.org/doc/html/rfc5280#section-6.3, https://datatracker.ietf.org/doc/html/rfc6960
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import pairwise

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509 import ocsp
from cryptography.x509.oid import AuthorityInformationAccessOID

from tim_server.trust.certificates import CertificateRefused, extension, http_urls
from tim_server.trust.chains import Chain
from tim_server.trust.crls import crl_urls, judge_by_crl
from tim_server.trust.ocsp_responses import judge_by_ocsp
from tim_server.trust.revocation_status import Good, Revoked

OCSP_URLS_MAX = 4


class RevocationMode(StrEnum):
    """What to do about a certificate of which nothing valid says whether it was revoked."""

    REQUIRED = "required"
    """Refuse it."""
    IF_KNOWN = "if_known"
    """Let it pass; refuse only what is known to be revoked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationRules:
    """How revocation is checked. With `uses_ocsp`, an OCSP response does where there is no list, and the reverse."""

    mode: RevocationMode = RevocationMode.REQUIRED
    uses_ocsp: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationData:
    """What was fetched, as read by `read_crl` and `read_ocsp_response`. What does not concern a chain does no harm."""

    crls: tuple[x509.CertificateRevocationList, ...] = ()
    ocsp_responses: tuple[ocsp.OCSPResponse, ...] = ()


NOTHING_KNOWN = RevocationData()


@dataclass(frozen=True, slots=True, kw_only=True)
class OcspQuery:
    """A request to POST to an OCSP responder, as `application/ocsp-request`."""

    url: str
    request: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RevocationSources:
    """What there is to fetch about a chain, as its certificates say; http and https only, each address once."""

    crl_urls: tuple[str, ...]
    ocsp_queries: tuple[OcspQuery, ...]


def revocation_sources(chain: Chain) -> RevocationSources:
    """Where to ask about the certificates of a chain, the anchor aside."""
    urls: dict[str, None] = {}
    queries: list[OcspQuery] = []
    for certificate, issuer in pairwise(chain.certificates):
        urls.update(dict.fromkeys(crl_urls(certificate)))
        queries += _ocsp_queries(certificate, issuer)
    return RevocationSources(crl_urls=tuple(urls), ocsp_queries=tuple(queries))


def check_revocation(chain: Chain, data: RevocationData, *, rules: RevocationRules, now: datetime) -> datetime:
    """Until when what is known now holds (aware, UTC): then newer lists must be had.

    Each certificate of the chain but the anchor is judged. Raises `CertificateRefused` for a revoked one, and where
    `rules` ask for it, for one that nothing valid speaks for.
    """
    holds_until = chain.valid_until
    for certificate, issuer in pairwise(chain.certificates):
        statuses = [judge_by_crl(certificate, issuer, crl, now) for crl in data.crls]
        if rules.uses_ocsp:
            statuses += [judge_by_ocsp(certificate, issuer, response, now) for response in data.ocsp_responses]
        if any(isinstance(status, Revoked) for status in statuses):
            raise CertificateRefused("a certificate of the chain was revoked")
        good = [status.holds_until for status in statuses if isinstance(status, Good)]
        if good:
            holds_until = min(holds_until, max(good))
        elif rules.mode is RevocationMode.REQUIRED:
            raise CertificateRefused("no valid revocation list covers a certificate of the chain")
    return holds_until


def _ocsp_queries(certificate: x509.Certificate, issuer: x509.Certificate) -> list[OcspQuery]:
    access = extension(certificate, x509.AuthorityInformationAccess)
    if access is None:
        return []
    places = [each.access_location for each in access if each.access_method == AuthorityInformationAccessOID.OCSP]
    builder = ocsp.OCSPRequestBuilder().add_certificate(certificate, issuer, hashes.SHA1())  # names it, secures nothing
    request = builder.build().public_bytes(serialization.Encoding.DER)
    return [OcspQuery(url=url, request=request) for url in list(http_urls(places))[:OCSP_URLS_MAX]]
