"""How an authority stands: what is published, and what waits to be signed."""

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from tim_server.services.directory_authority.certify import read_anchor
from tim_server.services.directory_authority.folder import AuthorityFolder
from tim_server.services.directory_authority.sign import crl_expires, read_published
from tim_server.services.directory_authority.state import AuthorityState, Issued
from tim_server.trust.certificates import certificate_sha256
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
                issued=tuple(
                    each
                    for each in state.issued
                    if each.organisation_id == id_ and each.revoked is None and each.expires > now
                ),
            )
            for id_ in sorted({*before, *current})
        ]
        return Overview(
            state=state,
            root_sha256=certificate_sha256(read_anchor(folder.read(folder.anchors_file))),
            published=published,
            crl_expires=crl_expires(folder),
            members=tuple(members),
        )


def _standing(before: Organisation | None, current: Organisation | None) -> Standing:
    if before is None:
        return Standing.NEW
    if current is None:
        return Standing.REMOVED
    return Standing.PUBLISHED if before == current else Standing.CHANGED
