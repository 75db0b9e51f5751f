"""The organisation certificate: whether it proves that a server is the one that the directory lists.

The checks, in this order: the chain to an anchor; key usage; extended key usage; the server's name in it; the
directory's entry; revocation. The first that fails refuses the certificate.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from cryptography import x509

from tim_server.matrix.identifiers import ServerName
from tim_server.trust.certificates import (
    CertificateRefused,
    certificate_sha256,
    host_of,
    names_host,
    public_key_sha256,
    read_certificate,
)
from tim_server.trust.chains import Chain, verify_chain
from tim_server.trust.directory import Organisation, Pin, PinnedPart
from tim_server.trust.revocation import RevocationData, RevocationRules, check_revocation
from tim_server.trust.usages import CLIENT_AUTH, SERVER_AUTH, check_extended_usage, check_may_sign


class Direction(Enum):
    """Who connected to whom when the certificate was presented."""

    OUTGOING = "outgoing"
    """We did; the certificate is a TLS server's."""
    INCOMING = "incoming"
    """They did, with mutual TLS; many servers have one certificate for both."""


_USAGES = {
    Direction.OUTGOING: (frozenset({SERVER_AUTH}), "serverAuth"),
    Direction.INCOMING: (frozenset({CLIENT_AUTH, SERVER_AUTH}), "clientAuth or serverAuth"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Presented:
    """A certificate as a server presented it, DER, with what came along (and what is configured) to reach an anchor."""

    certificate: bytes
    intermediates: tuple[bytes, ...] = ()
    direction: Direction = Direction.OUTGOING


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationCertificate:
    """A certificate that proved to be that of a server, for one version of the directory.

    It must be verified again when `holds_until` (aware, UTC) has passed, and whenever directory or revocation lists
    change.
    """

    server_name: ServerName
    organisation_id: str
    sha256: str
    holds_until: datetime


def verify_presented_chain(presented: Presented, *, anchors: Sequence[x509.Certificate], now: datetime) -> Chain:
    """The chain of what was presented, for `revocation_sources` to say what to fetch, and for
    `verify_organisation_certificate`. Raises `CertificateRefused`."""
    intermediates = [read_certificate(each) for each in presented.intermediates]
    leaf = read_certificate(presented.certificate)
    chain = verify_chain(leaf, intermediates=intermediates, anchors=anchors, now=now)
    check_may_sign(leaf)
    usages, name = _USAGES[presented.direction]
    check_extended_usage(leaf, usages, name)
    return chain


def verify_organisation_certificate(
    chain: Chain,
    *,
    server_name: ServerName,
    organisation: Organisation,
    revocation: tuple[RevocationData, RevocationRules],
    now: datetime,
) -> OrganisationCertificate:
    """What it takes for the certificate to be that of `server_name`, which the directory lists under `organisation`.

    `chain` is of `verify_presented_chain`. Raises `CertificateRefused`.
    """
    if not names_host(chain.leaf, host_of(server_name)):
        raise CertificateRefused(f"the certificate does not name {host_of(server_name)}")
    check_entry(chain, server_name, organisation)
    data, rules = revocation
    return OrganisationCertificate(
        server_name=server_name,
        organisation_id=organisation.id,
        sha256=certificate_sha256(chain.leaf),
        holds_until=check_revocation(chain, data, rules=rules, now=now),
    )


def check_entry(chain: Chain, server_name: ServerName, organisation: Organisation) -> None:
    """Raises `CertificateRefused` unless the entry lists the server, and the certificate or one of its issuers."""
    if server_name.lower() not in (name.lower() for name in organisation.server_names):
        raise CertificateRefused(f"the directory's entry does not list {server_name}")
    if any(_fits(pin, chain.leaf) for pin in organisation.certificates):
        return
    if any(_fits(pin, issuer) for pin in organisation.issuers for issuer in chain.issuers):
        return
    raise CertificateRefused("the certificate is not one that the directory lists for the organisation")


def _fits(pin: Pin, certificate: x509.Certificate) -> bool:
    if pin.part is PinnedPart.CERTIFICATE:
        return pin.digest == certificate_sha256(certificate)
    return pin.digest == public_key_sha256(certificate)
