"""The trust gate of a homeserver, before it has any source to decide by."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tim_server.background.supervise import Loop
from tim_server.config.settings import TenantSettings
from tim_server.egress.tls import PeerTls
from tim_server.services.trust.decisions import DecisionLog
from tim_server.services.trust.gate import TrustGate
from tim_server.services.trust.knowledge import TrustKnowledge
from tim_server.services.trust.review import TrustReview
from tim_server.storage.store import Store
from tim_server.trust.profiles import RULES

if TYPE_CHECKING:  # certificates take memory that a server of the open profile need not spend
    from tim_server.services.trust.certificates import PeerCertificates
    from tim_server.services.trust.inspect_peers import PeerInspection
    from tim_server.services.trust.refresh import DirectoryRefresh
    from tim_server.services.trust.revocation_lists import RevocationLists

TICK_S = 1.0
TRIM_INTERVAL_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustSources:
    """What a profile with a directory decides by, beside the rules."""

    directory: "DirectoryRefresh"
    lists: "RevocationLists"
    certificates: "PeerCertificates"
    inspection: "PeerInspection"
    tls: PeerTls


@dataclass(frozen=True, slots=True, kw_only=True)
class TrustParts:
    """The gate, and what it decides by. `sources` None: the profile looks at none."""

    gate: TrustGate
    knowledge: TrustKnowledge
    decisions: DecisionLog
    sources: TrustSources | None
    loops: tuple[Loop, ...]
    closers: tuple[Callable[[], Awaitable[None]], ...]

    @property
    def directory(self) -> "DirectoryRefresh | None":
        """What keeps the directory; None where the profile looks at none."""
        return None if self.sources is None else self.sources.directory

    async def load(self) -> None:
        """Put in force what the database holds."""
        if self.sources is not None:
            await self.sources.directory.load()


def trust_parts(tenant: TenantSettings, store: Store, now_ms: Callable[[], int]) -> TrustParts:
    """The gate as it is without any source: open, or closed to all."""
    knowledge = TrustKnowledge(own_name=tenant.server_name, rules=RULES[tenant.trust.profile])
    decisions = DecisionLog(
        database=store.database, writer=store.writer, now_ms=now_ms, kept_max=tenant.trust.decisions_kept_max
    )
    return TrustParts(
        gate=TrustGate(server_name=tenant.server_name, knowledge=knowledge, decisions=decisions),
        knowledge=knowledge,
        decisions=decisions,
        sources=None,
        loops=(
            Loop(name="write trust decisions", interval_s=TICK_S, work=decisions.flush),
            Loop(name="trim trust decisions", interval_s=TRIM_INTERVAL_S, work=decisions.trim),
        ),
        closers=(decisions.flush,),
    )


def trust_review(parts: TrustParts, tenant: TenantSettings, store: Store, now_ms: Callable[[], int]) -> TrustReview:
    """What answers administrators' questions about the gate."""
    return TrustReview(
        profile=tenant.trust.profile,
        knowledge=parts.knowledge,
        directory=parts.directory,
        certificates=None if parts.sources is None else parts.sources.certificates,
        database=store.database,
        codec=store.codec,
        now_ms=now_ms,
    )
