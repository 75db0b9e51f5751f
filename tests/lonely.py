"""For services that are tested alone: a client that contacts nobody, as it has no trust gate."""

from tests.peer import make_author
from tim_server.egress.client import OutgoingClient
from tim_server.federation.client import FederationClient
from tim_server.federation.discovery import Discovery


def lonely_client(server_name: str) -> FederationClient:
    """A client of this server that is refused every contact."""
    return FederationClient(author=make_author(server_name), outgoing=OutgoingClient(), discovery=Discovery())
