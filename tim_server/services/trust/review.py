"""What administrators ask about trust: how it stands, who may talk to this server and why, what was decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.explain import Explanation, certificate_step, explain_name
from tim_server.services.trust.health import Health, health_of
from tim_server.services.trust.knowledge import SourceStatus, TrustKnowledge
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.trust_certificates import StoredCertificate, load_certificates
from tim_server.storage.trust_decisions import Decision, DecisionFilter, list_decisions
from tim_server.trust.directory import DirectoryRefused, Organisation
from tim_server.trust.profiles import Profile
from tim_server.trust.verdict import Verdict

if TYPE_CHECKING:  # certificates take memory that a server of the open profile need not spend
    from tim_server.services.trust.certificates import PeerCertificates
    from tim_server.services.trust.refresh import DirectoryRefresh

LIMIT_MAX = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectoryStatus:
    """The directory in force and its source; times in milliseconds but for those that the directory states."""

    version: int | None
    issued: datetime | None
    expires: datetime | None
    signer_sha256: str | None
    organisation_count: int
    server_count: int
    fetched_ts: int | None
    source: SourceStatus
    health: Health


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustStatus:
    """How trust stands; `directory` None: the profile looks at none."""

    profile: Profile
    directory: DirectoryStatus | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionsPage:
    """Decisions, those taken last first, each with the number of its row."""

    decisions: Sequence[tuple[int, Decision]]
    has_more: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A server that the directory lists, under whom, and the certificate with which it proved itself last."""

    server_name: str
    organisation: Organisation
    certificate: StoredCertificate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustReview:
    """Answers administrators; `directory` None: the profile looks at none."""

    profile: Profile
    knowledge: TrustKnowledge
    directory: "DirectoryRefresh | None"
    certificates: "PeerCertificates | None"
    database: Database
    codec: Codec
    now_ms: Callable[[], int]

    def status(self) -> TrustStatus:
        """How trust stands in this process."""
        directory = None if self.directory is None else directory_status(self.directory, self.now_ms())
        return TrustStatus(profile=self.profile, directory=directory)

    async def refresh(self) -> TrustStatus:
        """Fetch the directory and the revocation lists in use now; raises `Unavailable` where the directory can't be
        had, and the one before stays in force."""
        if self.directory is not None:
            try:
                await self.directory.refresh()
            except DirectoryRefused as error:
                raise Unavailable(f"The directory could not be refreshed: {error}") from None
        if self.certificates is not None:
            await self.certificates.lists.refresh(pause_ms=0)
        return self.status()

    async def decisions(self, wanted: DecisionFilter, *, limit: int) -> DecisionsPage:
        """A page of decisions, of at most `LIMIT_MAX`."""
        limit = min(limit, LIMIT_MAX)
        async with self.database.read() as tx:
            found = await list_decisions(tx, wanted, limit=limit + 1)
        return DecisionsPage(decisions=found[:limit], has_more=len(found) > limit)

    async def explain(self, server_name: ServerName) -> Explanation:
        """Why the server may or may not talk to this one."""
        status = None if self.directory is None else self.directory.status
        explained = explain_name(server_name, self.knowledge, status, self.now_ms())
        if self.certificates is None or not explained.verdict.is_allowed or server_name == self.knowledge.own_name:
            return explained
        stored = next(iter(await self.certificates.proved_before(server_name)), None)
        complaint = None if stored is None else await self.certificates.complaint(server_name, stored)
        step = certificate_step(stored, complaint)
        verdict = explained.verdict if complaint is None else Verdict(is_allowed=False, reason=complaint)
        return replace(explained, steps=(*explained.steps, step), verdict=verdict)

    async def members(self, *, after: str, limit: int) -> list[Member]:
        """Servers that the directory lists, in the order of their names after `after`, and what they proved last."""
        copy = self.knowledge.copy
        if copy is None:
            return []
        listed = sorted((name.lower(), each) for each in copy.directory.organisations for name in each.server_names)
        page = [each for each in listed if each[0] > after][: min(limit, LIMIT_MAX)]
        async with self.database.connection() as connection:
            stored = await load_certificates(connection, self.codec, [name for name, _ in page])
        return [
            Member(server_name=name, organisation=organisation, certificate=next(iter(stored.get(name, ())), None))
            for name, organisation in page
        ]


def directory_status(refresh: "DirectoryRefresh", now_ms: int) -> DirectoryStatus:
    """How the directory of `refresh` stands."""
    copy = refresh.knowledge.copy
    directory = None if copy is None else copy.directory
    organisations = () if directory is None else directory.organisations
    return DirectoryStatus(
        version=None if directory is None else directory.version,
        issued=None if directory is None else directory.issued,
        expires=None if directory is None else directory.expires,
        signer_sha256=None if copy is None else copy.signed.signer_sha256,
        organisation_count=len(organisations),
        server_count=sum(len(each.server_names) for each in organisations),
        fetched_ts=None if copy is None else copy.fetched_ts,
        source=refresh.status,
        health=health_of(refresh.knowledge, refresh.status, now_ms),
    )
