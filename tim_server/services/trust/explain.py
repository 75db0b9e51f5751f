"""Why this server may or may not talk to another one: each step of the decision, in words."""

from dataclasses import dataclass
from datetime import UTC, datetime

from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.health import health_of
from tim_server.services.trust.knowledge import SourceStatus, TrustKnowledge
from tim_server.storage.trust_certificates import StoredCertificate
from tim_server.trust.contacts import judge_name, listing_of
from tim_server.trust.directory import Organisation
from tim_server.trust.verdict import Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step: what was looked at, what was found, and whether it speaks for the contact; None: neither way."""

    looked_at: str
    found: str
    is_fine: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The steps, and the verdict that they lead to."""

    server_name: ServerName
    steps: tuple[Step, ...]
    verdict: Verdict


def certificate_step(stored: StoredCertificate | None, complaint: str | None) -> Step:
    """The newest certificate with which the server has proved itself; `complaint` is why it would not do so now."""
    if stored is None:
        found = "it has not shown one to this server yet; it must when there is contact"
        return Step(looked_at="certificate", found=found, is_fine=None)
    found = f"serial {stored.serial}, valid until {_time(stored.not_after_ts)}, verified {_time(stored.verified_ts)}"
    if complaint is not None:
        return Step(looked_at="certificate", found=f"{found}; now: {complaint}", is_fine=False)
    return Step(looked_at="certificate", found=f"{found}; holds until {_time(stored.holds_until_ts)}", is_fine=True)


def explain_name(
    server_name: ServerName, knowledge: TrustKnowledge, status: SourceStatus | None, now_ms: int
) -> Explanation:
    """The steps that need no certificate. `status` None: the profile looks at no directory."""
    steps = [_profile_step(knowledge)]
    if status is not None:
        steps += [_directory_step(knowledge, status, now_ms), _listing_step(server_name, knowledge)]
    verdict = judge_name(server_name, knowledge.view)
    return Explanation(server_name=server_name, steps=tuple(steps), verdict=verdict)


def _profile_step(knowledge: TrustKnowledge) -> Step:
    rules = knowledge.rules
    if not rules.needs_listing:
        return Step(looked_at="profile", found="it allows contact with every server", is_fine=True)
    asks = "a listing in the directory" + (", and a certificate that verifies" if rules.needs_certificate else "")
    return Step(looked_at="profile", found=f"it asks for {asks}", is_fine=None)


def _directory_step(knowledge: TrustKnowledge, status: SourceStatus, now_ms: int) -> Step:
    health = health_of(knowledge, status, now_ms)
    if knowledge.copy is None:
        return Step(looked_at="directory", found=health.alarm or "there is none", is_fine=False)
    directory = knowledge.copy.directory
    found = (
        f"version {directory.version}, valid until {directory.expires.isoformat()}, "
        f"accepted {_time(knowledge.copy.fetched_ts)}"
    )
    if health.alarm is not None:
        return Step(looked_at="directory", found=f"{found}; {health.alarm}; it stays in force", is_fine=True)
    return Step(looked_at="directory", found=found, is_fine=True)


def _listing_step(server_name: ServerName, knowledge: TrustKnowledge) -> Step:
    listing = listing_of(server_name, knowledge.view.directories)
    if listing is None:
        return Step(looked_at="listing", found=f"no directory lists {server_name}", is_fine=False)
    organisation = listing[1]
    found = f"{organisation.name} ({organisation.kind}), id {organisation.id}, known by {_pins(organisation)}"
    return Step(looked_at="listing", found=found, is_fine=True)


def _pins(organisation: Organisation) -> str:
    counted = ((len(organisation.certificates), "certificate"), (len(organisation.issuers), "issuer"))
    return " and ".join(f"{count} {name}{'' if count == 1 else 's'}" for count, name in counted if count)


def _time(ts: int) -> str:
    return datetime.fromtimestamp(ts / 1000, UTC).isoformat(timespec="seconds")
