"""What a homeserver needs in order to talk to others: the trust gate, the client, the keys of servers."""

from dataclasses import dataclass

from tim_server.app.outgoing import outgoing_client
from tim_server.config.settings import TenantSettings
from tim_server.egress.client import OutgoingClient
from tim_server.federation.client import FederationClient
from tim_server.federation.discovery import Discovery
from tim_server.federation.keys import KeyRing
from tim_server.matrix.events.build import Author
from tim_server.services.trust.gate import TrustGate


@dataclass(frozen=True, slots=True, kw_only=True)
class FederationParts:
    """What services share that talk to other servers."""

    gate: TrustGate
    outgoing: OutgoingClient
    client: FederationClient
    keys: KeyRing


def federation_parts(tenant: TenantSettings, author: Author) -> FederationParts:
    """Build them; nothing is connected yet."""
    gate = TrustGate(server_name=author.server_name)
    outgoing = outgoing_client(tenant.federation, gate)
    client = FederationClient(author=author, outgoing=outgoing, discovery=Discovery())
    return FederationParts(gate=gate, outgoing=outgoing, client=client, keys=KeyRing(client=client))
