"""Whether a directory is accepted: who signed it, when it holds, and whether it may follow the one before.

The checks, in this order: size, form and header; the signer's chain to an anchor; that the signer may sign directories;
the signature; the content; the time; the signer's revocation, as far as known (what there is to fetch about it is asked
only of a chain that reaches an anchor); the version. The first that fails refuses the directory.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from cryptography import x509
from cryptography.x509.oid import NameOID

from tim_server.trust.certificates import CertificateRefused, certificate_sha256, extension
from tim_server.trust.chains import Chain, verify_chain
from tim_server.trust.directory import Directory, DirectoryRefused, encode_directory, parse_directory
from tim_server.trust.jws import JwsRefused, PrivateKey, read_jws, sign_jws, verify_signature
from tim_server.trust.revocation import (
    RevocationData,
    RevocationMode,
    RevocationRules,
    check_revocation,
)
from tim_server.trust.usages import (
    ANY_USAGE,
    DIRECTORY_SIGNING,
    SERVER_AUTH,
    check_extended_usage,
    check_may_sign,
    extended_usages,
    policies,
)

DOCUMENT_TYPE = "tim-directory+jws"
DIRECTORY_BYTES_MAX = 32 * 1024 * 1024
CLOCK_SKEW = timedelta(minutes=5)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignerRules:
    """Who may sign directories: whoever chains to an anchor and has the extended key usage of our own.

    For authorities that can't issue that usage: with `common_name` or `policy` (dotted) given, whoever has all of what
    is given needs no such usage. A certificate for TLS servers never may.
    """

    anchors: tuple[x509.Certificate, ...]
    common_name: str | None = None
    policy: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedDirectory:
    """A directory that was accepted, and who signed it."""

    directory: Directory
    payload_sha256: str
    """Of its content, in hexadecimal. Signing the same content anew leaves it as it is."""
    signer: Chain

    @property
    def signer_sha256(self) -> str:
        """The SHA-256 of the signer's certificate."""
        return certificate_sha256(self.signer.leaf)


@dataclass(frozen=True, slots=True, kw_only=True)
class AcceptedVersion:
    """What must be remembered of the last directory that was accepted."""

    version: int
    payload_sha256: str


class Succession(Enum):
    """How an accepted directory relates to the last one."""

    NEWER = "newer"
    SAME = "same"


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """Whether a directory in use is past its time. It goes on serving; `alarm` says what an operator must know."""

    is_stale: bool
    alarm: str | None


def verify_directory(token: bytes, *, rules: SignerRules, now: datetime) -> SignedDirectory:
    """The directory in `token`, a compact JWS, as accepted at `now` (aware, UTC).

    A copy that was accepted earlier is read again with the time of its acceptance: it may have expired since.
    Whether its signer was revoked is asked apart (`check_signer`). Raises `DirectoryRefused`.
    """
    try:
        document = read_jws(token, document_type=DOCUMENT_TYPE, size_bytes_max=DIRECTORY_BYTES_MAX)
        leaf, *intermediates = document.certificates
        signer = verify_chain(leaf, intermediates=intermediates, anchors=rules.anchors, now=now)
        check_may_sign_directories(leaf, rules)
        verify_signature(document)
    except (JwsRefused, CertificateRefused) as error:
        raise DirectoryRefused(f"the directory's signature is not accepted: {error}") from None
    directory = parse_directory(document.payload)
    _check_time(directory, now)
    return SignedDirectory(
        directory=directory, payload_sha256=hashlib.sha256(document.payload).hexdigest(), signer=signer
    )


def check_signer(signer: Chain, data: RevocationData, now: datetime) -> None:
    """Raises `DirectoryRefused` for a signer that is known to be revoked; that nothing is known of it is no reason: the
    directory's end bounds for how long it would be believed."""
    try:
        check_revocation(signer, data, rules=RevocationRules(mode=RevocationMode.IF_KNOWN), now=now)
    except CertificateRefused as error:
        raise DirectoryRefused(f"the directory's signer is not accepted: {error}") from None


def check_may_sign_directories(certificate: x509.Certificate, rules: SignerRules) -> None:
    """Raises `CertificateRefused` unless the certificate is one that signs directories.

    That of an organisation's server is none: it would let each member rewrite the directory.
    """
    check_may_sign(certificate)
    if SERVER_AUTH in extended_usages(certificate) or ANY_USAGE in extended_usages(certificate):
        raise CertificateRefused("the certificate is one for TLS servers, which can't sign directories")
    if rules.common_name is None and rules.policy is None:
        check_extended_usage(certificate, {DIRECTORY_SIGNING}, "the signing of directories")
        return
    if extension(certificate, x509.SubjectAlternativeName) is not None and not extended_usages(certificate):
        raise CertificateRefused("the certificate is one for any usage, which can't sign directories")
    if rules.common_name is not None and _common_names(certificate) != [rules.common_name]:
        raise CertificateRefused("the certificate's common name is not that of the signer of directories")
    if rules.policy is not None and rules.policy not in policies(certificate):
        raise CertificateRefused("the certificate does not have the policy of signers of directories")


def check_succession(candidate: SignedDirectory, last: AcceptedVersion | None) -> Succession:
    """How `candidate` relates to the last directory that was accepted; an older one may not replace it.

    Otherwise whoever can replay an old directory brings back a member that was removed. Raises `DirectoryRefused`.
    """
    version = candidate.directory.version
    if last is None or version > last.version:
        return Succession.NEWER
    if version < last.version:
        raise DirectoryRefused(f"the directory has version {version}, which is older than {last.version}")
    if candidate.payload_sha256 != last.payload_sha256:
        raise DirectoryRefused(f"the directory differs from the one of the same version {version}")
    return Succession.SAME


def freshness(directory: Directory, now: datetime) -> Freshness:
    """Whether the directory is past its time at `now`."""
    if now <= directory.expires:
        return Freshness(is_stale=False, alarm=None)
    hours = int((now - directory.expires).total_seconds() // 3600)
    alarm = f"the directory, version {directory.version}, expired {hours} hours ago and no newer one was accepted"
    return Freshness(is_stale=True, alarm=alarm)


def sign_directory(directory: Directory, *, key: PrivateKey, certificates: Sequence[x509.Certificate]) -> bytes:
    """The directory as a compact JWS; `certificates` begins with that of `key`. Raises ValueError for other kinds of
    keys than P-256, P-384, Ed25519 and RSA."""
    return sign_jws(encode_directory(directory), document_type=DOCUMENT_TYPE, key=key, certificates=certificates)


def _check_time(directory: Directory, now: datetime) -> None:
    if directory.issued > now + CLOCK_SKEW:
        raise DirectoryRefused("the directory is issued in the future")
    if directory.expires < now:
        raise DirectoryRefused("the directory has expired")


def _common_names(certificate: x509.Certificate) -> list[str]:
    return [str(attribute.value) for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
