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
from tim_server.services.trust.gate import TrustGate
from tim_server.storage.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationParts:
    """What services share that talk to other servers."""

    trust: TrustParts
    outgoing: OutgoingClient
    client: FederationClient
    keys: KeyRing

    @property
    def gate(self) -> TrustGate:
        """Decides each contact with another organisation."""
        return self.trust.gate

    @property
    def closers(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """What ends the conversations with others, in order."""
        return (self.outgoing.close, *self.trust.closers)


def federation_parts(
    tenant: TenantSettings, author: Author, old_keys: ServerKeys, store: Store, now_ms: Callable[[], int]
) -> FederationParts:
    """Build them; nothing is connected yet. `old_keys` are those that the author once signed with."""
    trust = _trust_parts(tenant, store, now_ms)
    outgoing = outgoing_client(tenant.federation, trust.gate)
    trust.knowledge.on_change.append(outgoing.close_connections)
    mapped = frozenset(name.lower() for name in tenant.federation.hosts)
    discovery = Discovery(outgoing=outgoing, look_up_srv=look_up_srv, mapped=mapped)
    client = FederationClient(author=author, outgoing=outgoing, discovery=discovery)
    notaries = tenant.federation.notaries
    keys = KeyRing(client=client, store=store, now_ms=now_ms, own_old_keys=old_keys, notaries=notaries)
    return FederationParts(trust=trust, outgoing=outgoing, client=client, keys=keys)


def _trust_parts(tenant: TenantSettings, store: Store, now_ms: Callable[[], int]) -> TrustParts:
    parts = trust_parts(tenant, store, now_ms)
    if not parts.knowledge.rules.needs_listing:
        return parts
    from tim_server.app.trust_sources import with_directory  # loads certificates, which take memory

    return with_directory(parts, tenant, store, now_ms)
