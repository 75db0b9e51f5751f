"""Other networks: `third_party_lookup.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class GetProtocolsRequest(RequestModel):
    """Nothing beside the requester."""


async def get_protocols(server: Homeserver, requester: Requester, request: GetProtocolsRequest) -> EmptyResponse:
    """`GET /_matrix/client/v3/thirdparty/protocols`: none, since no bridges are connected to this server.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3thirdpartyprotocols
    """
    return EmptyResponse()


ROUTES = (Route("GET", "/_matrix/client/v3/thirdparty/protocols", get_protocols),)
