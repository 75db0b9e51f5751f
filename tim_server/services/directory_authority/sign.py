"""Sign what members fetch: the directory, with a version of its own each time, and the revocation list.

What `authority.json` says becomes public when somebody asks for it (`sign_directory`). What is only renewed because its
time runs out (`renew_if_due`) says what it said before.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from cryptography import x509

from tim_server.services.directory_authority.certify import BACKDATED, Validity, make_crl, read_anchor
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import PUBLIC, AuthorityFolder
from tim_server.services.directory_authority.keys import ensure_signer, read_root
from tim_server.services.directory_authority.state import AuthorityState
from tim_server.trust.certificates import CertificateRefused
from tim_server.trust.crls import read_crl
from tim_server.trust.directory import Directory, DirectoryRefused, Organisation, format_time, parse_directory
from tim_server.trust.jws import JwsRefused, read_jws
from tim_server.trust.signed_directory import DIRECTORY_BYTES_MAX, DOCUMENT_TYPE, SignerRules, verify_directory
from tim_server.trust.signed_directory import sign_directory as sign

VALID_DAYS_DEFAULT = 30
CRL_VALID_DAYS_DEFAULT = 7
_REVOKED_KEPT = timedelta(days=7)
"""For how long after its end a certificate stays on the list: clocks and copies differ."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewed:
    """What was signed anew because its time ran out."""

    directory: Directory | None
    has_crl: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A directory that was published, and the state after it."""

    directory: Directory
    state: AuthorityState


@dataclass(frozen=True, slots=True, kw_only=True)
class Signing:
    """For how long to sign. `after_version` is for an authority that was restored from a backup: the version that its
    members have, which the next one must exceed."""

    valid_days: int = VALID_DAYS_DEFAULT
    crl_valid_days: int = CRL_VALID_DAYS_DEFAULT
    after_version: int = 0


def sign_directory(folder: AuthorityFolder, signing: Signing, now: datetime) -> Directory:
    """Sign and publish the members as they are now, under the next version, and a new revocation list.

    Raises `AuthorityFailed`; then the directory that was published stays.
    """
    with folder.locked() as state:
        continued = replace(state, version=max(state.version, signing.after_version))
        listed = publish_crl(folder, continued, now, lifetime=timedelta(days=signing.crl_valid_days))
        lifetime = timedelta(days=signing.valid_days)
        return _publish_directory(folder, listed, listed.organisations, lifetime=lifetime, now=now).directory


def renew_if_due(folder: AuthorityFolder, now: datetime) -> Renewed:
    """Sign directory and revocation list anew, for as long as before, once less than a third of their time is left; the
    list also where something kept it from being published.

    The directory keeps its members: what changed in the meantime waits for `sign_directory`. Raises `AuthorityFailed`.
    """
    with folder.locked() as state:
        published = read_published(folder)
        if published is None:
            raise AuthorityFailed("nothing is signed yet; sign it with tim-server trust authority sign")
        lifetime = published.expires - published.issued
        renewed = None
        if published.expires - now <= lifetime / 3:
            renewed = _publish_directory(folder, state, published.organisations, lifetime=lifetime, now=now)
        current = state if renewed is None else renewed.state
        has_crl = _is_crl_due(folder, current, now)
        if has_crl:
            publish_crl(folder, current, now)
    return Renewed(directory=None if renewed is None else renewed.directory, has_crl=has_crl)


def publish_crl(
    folder: AuthorityFolder, state: AuthorityState, now: datetime, *, lifetime: timedelta | None = None
) -> AuthorityState:
    """Sign and publish the revocation list, for as long as the one before where `lifetime` is None.

    The state, written, with the list's number. The folder's lock is held; raises `AuthorityFailed`.
    """
    root = read_root(folder)
    state = replace(state, crl_number=state.crl_number + 1)
    folder.write_state(state)  # first: no number twice
    revoked = [each for each in state.issued if each.revoked is not None and each.expires + _REVOKED_KEPT > now]
    validity = Validity(begins=now - BACKDATED, ends=now + (lifetime or _crl_lifetime(folder)))
    folder.write(
        folder.crl_file, make_crl(root, number=state.crl_number, revoked=revoked, validity=validity), mode=PUBLIC
    )
    return state


def read_published(folder: AuthorityFolder) -> Directory | None:
    """The directory that was signed last; None before the first. Raises `AuthorityFailed`."""
    if not folder.directory_file.exists():
        return None
    try:
        token = folder.read(folder.directory_file)
        return parse_directory(read_jws(token, document_type=DOCUMENT_TYPE, size_bytes_max=DIRECTORY_BYTES_MAX).payload)
    except (JwsRefused, DirectoryRefused) as error:
        raise AuthorityFailed(f"{folder.directory_file} is not readable: {error}; sign the directory anew") from None


def _publish_directory(
    folder: AuthorityFolder,
    state: AuthorityState,
    organisations: tuple[Organisation, ...],
    *,
    lifetime: timedelta,
    now: datetime,
) -> _Signed:
    issued = now.replace(microsecond=0)
    expires = issued + lifetime
    signer, state = ensure_signer(folder, state, valid_until=expires, now=now)
    directory = Directory(version=state.version + 1, issued=issued, expires=expires, organisations=organisations)
    token = sign(directory, key=signer.key, certificates=[signer.certificate])
    _check_as_members_do(folder, token, now)
    state = replace(state, version=directory.version)
    folder.log(f"sign version {directory.version}: {len(organisations)} members, until {format_time(expires)}", now)
    folder.write_state(state)  # first: no version twice
    folder.write(folder.directory_file, token, mode=PUBLIC)
    return _Signed(directory=directory, state=state)


def _check_as_members_do(folder: AuthorityFolder, token: bytes, now: datetime) -> None:
    """What members would refuse is never published."""
    rules = SignerRules(anchors=(read_anchor(folder.read(folder.anchors_file)),))
    try:
        verify_directory(token, rules=rules, now=now)
    except DirectoryRefused as error:
        raise AuthorityFailed(f"members would refuse this directory, so it is not published: {error}") from None


def _published_crl(folder: AuthorityFolder) -> x509.CertificateRevocationList | None:
    """The list that was published last; None before the first, or where it can't be read."""
    if not folder.crl_file.exists():
        return None
    try:
        return read_crl(folder.read(folder.crl_file))
    except CertificateRefused:
        return None


def _crl_validity(folder: AuthorityFolder) -> Validity | None:
    """That of the published list; None where there is none."""
    crl = _published_crl(folder)
    if crl is None:
        return None
    assert crl.next_update_utc is not None
    return Validity(begins=crl.last_update_utc + BACKDATED, ends=crl.next_update_utc)


def crl_expires(folder: AuthorityFolder) -> datetime | None:
    """When the revocation list that was published last ends; None before the first."""
    validity = _crl_validity(folder)
    return None if validity is None else validity.ends


def _crl_lifetime(folder: AuthorityFolder) -> timedelta:
    validity = _crl_validity(folder)
    return timedelta(days=CRL_VALID_DAYS_DEFAULT) if validity is None else validity.ends - validity.begins


def _is_crl_due(folder: AuthorityFolder, state: AuthorityState, now: datetime) -> bool:
    crl, validity = _published_crl(folder), _crl_validity(folder)
    if crl is None or validity is None:
        return True
    if crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number < state.crl_number:
        return True
    return validity.ends - now <= (validity.ends - validity.begins) / 3
