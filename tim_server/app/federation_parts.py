"""What a homeserver needs in order to talk to others: the trust gate, the client, the keys of servers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tim_server.app.outgoing import outgoing_client
from tim_server.app.trust_parts import TrustParts, trust_parts
from tim_server.config.settings import TenantSettings
from tim_server.egress.client import OutgoingClient
from tim_server.federation.client import FederationClient
from tim_server.federation.discovery import Discovery
from tim_server.federation.keys import KeyRing
from tim_server.federation.srv import look_up_srv
from tim_server.matrix.events.build import Author
from tim_server.matrix.server_keys import ServerKeys
from tim_server.services.servers.authenticate import RequestKeys
from tim_server.services.trust.gate import TrustGate
from tim_server.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationParts:
    """What services share that talk to other servers."""

    trust: TrustParts
    outgoing: OutgoingClient
    lookups: OutgoingClient
    """For what is looked up about servers before they are talked to: without their organisations' certificates."""
    client: FederationClient
    keys: KeyRing
    request_keys: RequestKeys | None
    """The keys that requests of other servers must be signed with, where the key ring's word does not do."""

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
    outgoing = lookups if trust.sources is None else _certified_client(tenant, trust)
    trust.knowledge.on_change.append(outgoing.close_connections)
    mapped = frozenset(name.lower() for name in tenant.federation.hosts)
    discovery = Discovery(outgoing=lookups, look_up_srv=look_up_srv, mapped=mapped)
    client = FederationClient(author=author, outgoing=outgoing, discovery=discovery)
    notaries = tenant.federation.notaries
    keys = KeyRing(client=client, store=store, now_ms=now_ms, own_old_keys=old_keys, notaries=notaries)
    return FederationParts(
        trust=trust,
        outgoing=outgoing,
        lookups=lookups,
        client=client,
        keys=keys,
        request_keys=_request_keys(trust, client, now_ms),
    )


# What reads certificates takes memory that a server of the open profile need not spend: it is imported where needed.


def _trust_parts(tenant: TenantSettings, store: Store, now_ms: Callable[[], int]) -> TrustParts:
    parts = trust_parts(tenant, store, now_ms)
    if not parts.knowledge.rules.needs_listing:
        return parts
    from tim_server.app.trust_sources import with_sources

    return with_sources(parts, tenant, store, now_ms)


def _certified_client(tenant: TenantSettings, trust: TrustParts) -> OutgoingClient:
    from tim_server.app.trust_sources import peer_tls

    assert trust.sources is not None
    return outgoing_client(tenant.federation, trust.gate, tls=peer_tls(tenant), peer_check=trust.sources.inspection)


def _request_keys(trust: TrustParts, client: FederationClient, now_ms: Callable[[], int]) -> RequestKeys | None:
    if trust.sources is None:
        return None
    from tim_server.app.trust_sources import vouched_keys

    return vouched_keys(trust, trust.sources, client, now_ms)
