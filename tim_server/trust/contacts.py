"""Who may talk to whom: the verdict on a contact with another server.

`judge_name` knows the name only, before any connection; `judge_contact` also what the server proved with a certificate.
Server names are compared without regard to case, with their ports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tim_server.matrix.identifiers import ServerName
from tim_server.trust.directory import Directory, Organisation
from tim_server.trust.profiles import ProfileRules
from tim_server.trust.verdict import Verdict

if TYPE_CHECKING:  # certificates take memory that a server of the open profile need not spend
    from tim_server.trust.organisation_certificate import OrganisationCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustView:
    """What one homeserver knows when it decides: who it is, its rules, the directories that it accepted."""

    own_name: ServerName
    rules: ProfileRules
    directories: Sequence[Directory] = ()


def listing_of(server_name: ServerName, directories: Sequence[Directory]) -> tuple[Directory, Organisation] | None:
    """The first of the directories that lists the server, and its entry; None where none does."""
    for directory in directories:
        organisation = directory.organisation_of(server_name)
        if organisation is not None:
            return directory, organisation
    return None


def judge_name(server_name: ServerName, view: TrustView) -> Verdict:
    """Whether the homeserver may have to do with a server of this name at all."""
    if is_same_server(server_name, view.own_name):
        return Verdict(is_allowed=True, reason=f"{server_name} is this server")
    if not view.rules.needs_listing:
        return Verdict(is_allowed=True, reason="the profile allows contact with every server")
    listing = listing_of(server_name, view.directories)
    if listing is not None:
        directory, organisation = listing
        reason = f"{server_name} is listed under {organisation.id} in version {directory.version} of the directory"
        return Verdict(is_allowed=True, reason=reason)
    if not view.directories:
        return Verdict(is_allowed=False, reason=f"there is no directory yet that could list {server_name}")
    return Verdict(is_allowed=False, reason=f"no directory lists {server_name}")


def judge_contact(
    server_name: ServerName, view: TrustView, certificate: "OrganisationCertificate | None", now: datetime
) -> Verdict:
    """Whether to talk to a server that has proved to be who it is with `certificate`, or has not (None)."""
    by_name = judge_name(server_name, view)
    if not by_name.is_allowed or not view.rules.needs_certificate or is_same_server(server_name, view.own_name):
        return by_name
    if certificate is None:
        return Verdict(is_allowed=False, reason=f"{server_name} has not shown a certificate that verifies")
    if not is_same_server(certificate.server_name, server_name):
        reason = f"the certificate is that of {certificate.server_name}, not of {server_name}"
        return Verdict(is_allowed=False, reason=reason)
    if now > certificate.holds_until:
        return Verdict(is_allowed=False, reason=f"the certificate of {server_name} must be verified again")
    listing = listing_of(server_name, view.directories)
    if listing is not None and listing[1].id != certificate.organisation_id:
        return Verdict(is_allowed=False, reason=f"the certificate of {server_name} was that of another organisation")
    return Verdict(is_allowed=True, reason=f"{by_name.reason}, and its certificate verifies")


def is_same_server(one: ServerName, other: ServerName) -> bool:
    """Whether two names are the same server's."""
    return one.lower() == other.lower()
