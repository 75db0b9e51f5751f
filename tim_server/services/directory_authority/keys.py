"""The authority's own keys: the root, and the certificate that signs directories, which is renewed before it ends."""

from dataclasses import replace
from datetime import datetime, timedelta

from tim_server.services.directory_authority.certify import (
    BACKDATED,
    KeyPair,
    Validity,
    key_to_pem,
    make_signer,
    read_key_pair,
    to_pem,
)
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import PRIVATE, AuthorityFolder
from tim_server.services.directory_authority.state import AuthorityState, Issued, format_serial
from tim_server.trust.publication import CRL_PATH

SIGNER_LIFETIME = timedelta(days=397)


def crl_url(state: AuthorityState) -> str:
    """Where the revocation list is fetched, which stands in all certificates."""
    return state.url + CRL_PATH


def read_root(folder: AuthorityFolder) -> KeyPair:
    """The root; raises `AuthorityFailed` where its key is kept elsewhere."""
    if not folder.root_key_file.exists():
        raise AuthorityFailed(
            f"{folder.root_key_file} is not there: certificates and revocation lists can't be made without it"
        )
    return read_key_pair(folder.read(folder.anchors_file), folder.read(folder.root_key_file), folder.passphrase)


def check_passphrase(folder: AuthorityFolder) -> None:
    """Raises `AuthorityFailed` where the keys that there are can't be used: not only once they are needed."""
    if folder.root_key_file.exists():
        read_root(folder)
    if folder.signer_file.exists():
        pair = folder.read(folder.signer_file)
        read_key_pair(pair, pair, folder.passphrase)


def ensure_signer(
    folder: AuthorityFolder, state: AuthorityState, *, valid_until: datetime, now: datetime
) -> tuple[KeyPair, AuthorityState]:
    """A certificate that signs directories until `valid_until`, and the state, which knows it.

    It is the one that there is, or a new one where that would end sooner or was revoked. The folder's lock is held.
    Raises `AuthorityFailed`.
    """
    if folder.signer_file.exists():
        pair = folder.read(folder.signer_file)
        signer = read_key_pair(pair, pair, folder.passphrase)
        if signer.certificate.not_valid_after_utc >= valid_until and not _is_revoked(signer, state):
            return signer, state
    signer = make_signer(
        read_root(folder),
        authority_name=state.name,
        crl_url=crl_url(state),
        validity=Validity(begins=now - BACKDATED, ends=max(valid_until, now + SIGNER_LIFETIME)),
    )
    issued = Issued(
        serial=signer.certificate.serial_number,
        server_name=None,
        organisation_id=None,
        expires=signer.certificate.not_valid_after_utc,
    )
    state = replace(state, issued=(*state.issued, issued))
    folder.log(f"make a signer of directories, certificate {format_serial(issued.serial)}", now)
    folder.write_state(state)
    content = to_pem(signer.certificate) + key_to_pem(signer.key, folder.passphrase)
    folder.write(folder.signer_file, content, mode=PRIVATE)
    return signer, state


def _is_revoked(signer: KeyPair, state: AuthorityState) -> bool:
    serial = signer.certificate.serial_number
    return any(each.serial == serial and each.revoked is not None for each in state.issued)
