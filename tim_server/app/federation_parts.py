"""What a homeserver needs in order to talk to others: the trust gate, the client, the keys of servers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tim_server.app.outgoing import outgoing_client
from tim_server.app.trust_parts import TrustParts, TrustSources, trust_parts
from tim_server.config.settings import TenantSettings
from tim_server.egress.client import OutgoingClient
from tim_server.federation.client import FederationClient
from tim_server.federation.discovery import Discovery
from tim_server.federation.key_memory import KeyMemory
from tim_server.federation.keys import KeyRing
from tim_server.federation.srv import look_up_srv
from tim_server.matrix.events.build import Author
from tim_server.matrix.server_keys import ServerKeys
from tim_server.services.servers.authenticate import ClientProof, RequestKeys
from tim_server.services.trust.gate import TrustGate
from tim_server.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestProofs:
    """What requests of other servers must prove beside their signature: that it was made with a key that the server has
    published under its certificate, or that the client has presented that certificate."""

    request_keys: RequestKeys | None = None
    client_certificates: ClientProof | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationParts:
    """What services share that talk to other servers."""

    trust: TrustParts
    outgoing: OutgoingClient
    lookups: OutgoingClient
    """For what is looked up about servers before they are talked to: without their organisations' certificates."""
    client: FederationClient
    keys: KeyRing
    proofs: RequestProofs

    @property
    def gate(self) -> TrustGate:
        """Decides each contact with another organisation."""
        return self.trust.gate

    @property
    def closers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What ends the conversations with others, in order."""
        return (self.outgoing.close, self.lookups.close, *self.trust.closers)


def federation_parts(
    tenant: TenantSettings, author: Author, old_keys: ServerKeys, store: Store, now_ms: Callable[[], int]
) -> FederationParts:
    """Build them; nothing is connected yet. `old_keys` are those that the author once signed with."""
    trust = _trust_parts(tenant, store, now_ms)
    lookups = outgoing_client(tenant.federation, trust.gate)
    outgoing = lookups if trust.sources is None else _certified_client(tenant, trust.gate, trust.sources)
    trust.knowledge.on_change.append(outgoing.close_connections)
    mapped = frozenset(name.lower() for name in tenant.federation.hosts)
    discovery = Discovery(outgoing=lookups, look_up_srv=look_up_srv, mapped=mapped)
    client = FederationClient(author=author, outgoing=outgoing, discovery=discovery)
    notaries = tenant.federation.notaries
    memory = KeyMemory(store=store)
    keys = KeyRing(client=client, memory=memory, now_ms=now_ms, own_old_keys=old_keys, notaries=notaries)
    return FederationParts(
        trust=trust,
        outgoing=outgoing,
        lookups=lookups,
        client=client,
        keys=keys,
        proofs=_request_proofs(tenant, trust, client, now_ms),
    )


def _certified_client(tenant: TenantSettings, gate: TrustGate, sources: TrustSources) -> OutgoingClient:
    return outgoing_client(tenant.federation, gate, tls=sources.tls.context, peer_check=sources.inspection)


# What reads certificates takes memory that a server of the open profile need not spend: it is imported where needed.


def _trust_parts(tenant: TenantSettings, store: Store, now_ms: Callable[[], int]) -> TrustParts:
    parts = trust_parts(tenant, store, now_ms)
    if not parts.knowledge.rules.needs_listing:
        return parts
    from tim_server.app.trust_sources import with_sources

    return with_sources(parts, tenant, store, now_ms)


def _request_proofs(
    tenant: TenantSettings, trust: TrustParts, client: FederationClient, now_ms: Callable[[], int]
) -> RequestProofs:
    if trust.sources is None:
        return RequestProofs()
    from tim_server.app.trust_sources import client_certificate_check, vouched_keys

    if tenant.trust.mutual_tls.required:
        return RequestProofs(client_certificates=client_certificate_check(trust, trust.sources))
    return RequestProofs(request_keys=vouched_keys(trust, trust.sources, client, now_ms))
