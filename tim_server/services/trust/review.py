"""What administrators ask about trust: how it stands, who may talk to this server and why, what was decided."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from tim_server.matrix.errors import Unavailable
from tim_server.matrix.identifiers import ServerName
from tim_server.services.trust.explain import Explanation, explain_name
from tim_server.services.trust.health import Health, health_of
from tim_server.services.trust.knowledge import SourceStatus, TrustKnowledge
from tim_server.storage.database import Database
from tim_server.storage.trust_decisions import Decision, DecisionFilter, list_decisions
from tim_server.trust.directory import DirectoryRefused
from tim_server.trust.profiles import Profile

if TYPE_CHECKING:  # certificates take memory that a server of the open profile need not spend
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
class TrustReview:
    """Answers administrators; `directory` None: the profile looks at none."""

    profile: Profile
    knowledge: TrustKnowledge
    directory: "DirectoryRefresh | None"
    database: Database
    now_ms: Callable[[], int]

    def status(self) -> TrustStatus:
        """How trust stands in this process."""
        directory = None if self.directory is None else directory_status(self.directory, self.now_ms())
        return TrustStatus(profile=self.profile, directory=directory)

    async def refresh(self) -> TrustStatus:
        """Fetch the directory now; raises `Unavailable` where that fails, and the one before stays in force."""
        if self.directory is not None:
            try:
                await self.directory.refresh()
            except DirectoryRefused as error:
                raise Unavailable(f"The directory could not be refreshed: {error}") from None
        return self.status()

    async def decisions(self, wanted: DecisionFilter, *, limit: int) -> DecisionsPage:
        """A page of decisions, of at most `LIMIT_MAX`."""
        limit = min(limit, LIMIT_MAX)
        async with self.database.read() as tx:
            found = await list_decisions(tx, wanted, limit=limit + 1)
        return DecisionsPage(decisions=found[:limit], has_more=len(found) > limit)

    def explain(self, server_name: ServerName) -> Explanation:
        """Why the server may or may not talk to this one."""
        status = None if self.directory is None else self.directory.status
        return explain_name(server_name, self.knowledge, status, self.now_ms())


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
