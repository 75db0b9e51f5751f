"""For services that are tested alone: a client that contacts nobody, as it has no trust gate."""

from tests.peer import make_author
from tim_server.egress.client import OutgoingClient
from tim_server.federation.client import FederationClient
from tim_server.federation.discovery import Discovery
from tim_server.federation.srv import look_up_srv


def lonely_client(server_name: str) -> FederationClient:
    """A client of this server that is refused every contact."""
    outgoing = OutgoingClient()
    discovery = Discovery(outgoing=outgoing, look_up_srv=look_up_srv)
    return FederationClient(author=make_author(server_name), outgoing=outgoing, discovery=discovery)
