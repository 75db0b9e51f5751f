"""What users may do on this server: `capabilities.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Route


class GetCapabilitiesRequest(RequestModel):
    """Nothing."""


class GetCapabilitiesResponse(ResponseModel):
    """Capabilities by name."""

    capabilities: dict[str, Any]


async def get_capabilities(
    server: Homeserver, requester: Requester, request: GetCapabilitiesRequest
) -> GetCapabilitiesResponse:
    """`GET /_matrix/client/v3/capabilities`: what differs between servers, such as room versions.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3capabilities
    """
    return GetCapabilitiesResponse(capabilities=server.capabilities.document())


ROUTES = (Route("GET", "/_matrix/client/v3/capabilities", get_capabilities),)
