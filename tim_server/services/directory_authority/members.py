"""Who belongs to the circle: members come, change and go. What changes here is published with the next signing."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory_authority.certify import read_anchor
from tim_server.services.directory_authority.errors import AuthorityFailed
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.state import AuthorityState, format_serial
from tim_server.trust.certificates import host_of, public_key_sha256
from tim_server.trust.directory import DirectoryRefused, Organisation, parse_organisation

_ENTRY_KEYS = frozenset({"id", "name", "kind", "server_names", "certificates", "issuers", "contacts"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedMember:
    """What became of an entry. `revoked_count` certificates of servers that it no longer has were revoked."""

    organisation: Organisation
    is_new: bool
    revoked_count: int


def add_member(folder: AuthorityFolder, entry: Mapping[str, Any], now: datetime) -> ChangedMember:
    """Add a member, in the form that it has in the directory, or replace the one with the same id.

    An entry without certificates and issuers lists this authority as issuer: the member's servers are known by the
    certificates that the authority issues to them. Raises `AuthorityFailed`.
    """
    with folder.locked() as state:
        organisation = _read_entry(folder, entry)
        others = tuple(each for each in state.organisations if each.id != organisation.id)
        _check_names_are_free(organisation, others)
        _check_hosts_are_free(organisation, replace(state, organisations=others), now)
        before = state.organisation(organisation.id)
        changed = replace(state, organisations=(*others, organisation))
        changed, revoked_count = _without_orphans(changed, organisation.id, organisation.server_names, now)
        servers = ", ".join(organisation.server_names)
        what = f"{'add' if before is None else 'replace'} {organisation.id} ({organisation.name}), servers {servers}"
        folder.log(f"{what}; certificates revoked: {revoked_count}", now)
        folder.write_state(changed)
    return ChangedMember(organisation=organisation, is_new=before is None, revoked_count=revoked_count)


def remove_member(folder: AuthorityFolder, organisation_id: str, now: datetime) -> ChangedMember:
    """Remove a member, and revoke all certificates that were issued to it. Raises `AuthorityFailed`."""
    with folder.locked() as state:
        organisation = state.organisation(organisation_id)
        if organisation is None:
            raise AuthorityFailed(f"no member has the id {organisation_id}; tim-server trust authority list names them")
        others = tuple(each for each in state.organisations if each.id != organisation_id)
        changed, revoked_count = _without_orphans(replace(state, organisations=others), organisation_id, (), now)
        folder.log(f"remove {organisation_id} ({organisation.name}); certificates revoked: {revoked_count}", now)
        folder.write_state(changed)
    return ChangedMember(organisation=organisation, is_new=False, revoked_count=revoked_count)


def _read_entry(folder: AuthorityFolder, entry: Mapping[str, Any]) -> Organisation:
    unknown = sorted(set(entry) - _ENTRY_KEYS)
    if unknown:
        raise AuthorityFailed(f"an entry has no {unknown[0]}, only {', '.join(sorted(_ENTRY_KEYS))}")
    value = dict(entry)
    if not value.get("certificates") and not value.get("issuers"):
        root = read_anchor(folder.read(folder.anchors_file))
        value["issuers"] = [{"public_key_sha256": public_key_sha256(root)}]
    try:
        organisation = parse_organisation(value)
    except DirectoryRefused as error:
        raise AuthorityFailed(f"the entry is not right: {error}") from None
    names = [name.lower() for name in organisation.server_names]
    if len(set(names)) < len(names):
        raise AuthorityFailed("the entry has a server name twice")
    return organisation


def _check_names_are_free(organisation: Organisation, others: tuple[Organisation, ...]) -> None:
    taken = {name.lower(): other for other in others for name in other.server_names}
    for name in organisation.server_names:
        if name.lower() in taken:
            raise AuthorityFailed(f"{name} is a server of {taken[name.lower()].id}; remove it there first")


def _check_hosts_are_free(organisation: Organisation, others: AuthorityState, now: datetime) -> None:
    """A certificate that another member has must not be good for a server of this one."""
    for host in map(host_of, organisation.server_names):
        owner = others.owner_of(host)
        if owner is not None:
            raise AuthorityFailed(f"{owner.id} has a server on {host} too, with a certificate that is good for both")
        for each in others.issued:
            if host in each.hosts and each.organisation_id != organisation.id and each.is_valid(now):
                serial = format_serial(each.serial)
                raise AuthorityFailed(f"certificate {serial} of {each.organisation_id} names {host}; revoke it first")


def _without_orphans(
    state: AuthorityState, organisation_id: str, server_names: tuple[ServerName, ...], now: datetime
) -> tuple[AuthorityState, int]:
    """The state with those certificates of the member revoked whose servers it does not have (any more)."""
    kept = {name.lower() for name in server_names}
    orphans = frozenset(
        each.serial
        for each in state.issued
        if each.organisation_id == organisation_id
        and each.is_valid(now)
        and (each.server_name or "").lower() not in kept
    )
    return state.with_revoked(orphans, now), len(orphans)
