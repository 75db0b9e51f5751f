"""How an authority stands: what is published, and what waits to be signed."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from tim_server.services.directory_authority.certify import read_anchor
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.sign import crl_expires, read_published
from tim_server.services.directory_authority.state import AuthorityState, Issued
from tim_server.trust.certificates import certificate_sha256, host_of, public_key_sha256
from tim_server.trust.directory import Directory, Organisation


class Standing(Enum):
    """How a member stands in the directory that is published."""

    PUBLISHED = "published"
    NEW = "waits to be signed"
    CHANGED = "changed, waits to be signed"
    REMOVED = "removed, published until it is signed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedMember:
    """A member, with the valid certificates that were issued to its servers."""

    organisation: Organisation
    standing: Standing
    issued: tuple[Issued, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """The authority as a whole. `published` is None before the first signing, `crl_expires` before the first list."""

    state: AuthorityState
    root_sha256: str
    root_key_sha256: str
    published: Directory | None
    crl_expires: datetime | None
    members: tuple[ListedMember, ...]

    @property
    def has_unsigned_changes(self) -> bool:
        """Whether signing would publish something else than is published."""
        return any(member.standing is not Standing.PUBLISHED for member in self.members)


def look_over(folder: AuthorityFolder, now: datetime) -> Overview:
    """How the authority stands; members in the order of their ids. Raises `AuthorityFailed`."""
    with folder.locked() as state:
        published = read_published(folder)
        before = {} if published is None else {each.id: each for each in published.organisations}
        current = {each.id: each for each in state.organisations}
        members = [
            ListedMember(
                organisation=current[id_] if id_ in current else before[id_],
                standing=_standing(before.get(id_), current.get(id_)),
                issued=tuple(each for each in state.issued if each.organisation_id == id_ and each.is_valid(now)),
            )
            for id_ in sorted({*before, *current})
        ]
        root = read_anchor(folder.read(folder.anchors_file))
        return Overview(
            state=state,
            root_sha256=certificate_sha256(root),
            root_key_sha256=public_key_sha256(root),
            published=published,
            crl_expires=crl_expires(folder),
            members=tuple(members),
        )


def concerns(overview: Overview, now: datetime, *, soon: timedelta) -> Iterator[str]:
    """What somebody must do: sign, or issue a certificate because the last one for a server ends within `soon`."""
    if overview.published is None:
        yield "no directory is signed yet"
    elif overview.published.expires < now:
        yield f"the directory expired at {overview.published.expires.isoformat()}: sign or serve it"
    if overview.crl_expires is not None and overview.crl_expires < now:
        yield f"the revocation list expired at {overview.crl_expires.isoformat()}: sign or serve it"
    for member in overview.members:
        if member.standing is not Standing.PUBLISHED:
            yield f"{member.organisation.id}: {member.standing.value}"
        if member.standing is not Standing.REMOVED:
            yield from _ending_certificates(member, now + soon, overview.root_key_sha256)


def _ending_certificates(member: ListedMember, end: datetime, root_key_sha256: str) -> Iterator[str]:
    """Servers that only this authority's certificates prove to be who they are, and that soon have none."""
    organisation = member.organisation
    if organisation.certificates or any(pin.digest != root_key_sha256 for pin in organisation.issuers):
        return
    for name in organisation.server_names:
        ends = [each.expires for each in member.issued if host_of(name) in each.hosts]
        if not ends:
            yield f"{organisation.id}: {name} has no certificate: issue one"
        elif max(ends) < end:
            yield f"{organisation.id}: the certificate of {name} ends at {max(ends).isoformat()}: issue another"


def _standing(before: Organisation | None, current: Organisation | None) -> Standing:
    if before is None:
        return Standing.NEW
    if current is None:
        return Standing.REMOVED
    return Standing.PUBLISHED if before == current else Standing.CHANGED
