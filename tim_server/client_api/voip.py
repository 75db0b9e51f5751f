"""Calls: `voip.yaml`."""

from typing import NoReturn

from tim_server.matrix.errors import Forbidden
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.route import Route


class GetTurnServerRequest(RequestModel):
    """Nothing beside the requester."""


async def get_turn_server(server: Homeserver, requester: Requester, request: GetTurnServerRequest) -> NoReturn:
    """`GET /_matrix/client/v3/voip/turnServer`: refused, since there is none: clients then cease to ask.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3voipturnserver
    """
    raise Forbidden("This server offers no TURN servers")


ROUTES = (Route("GET", "/_matrix/client/v3/voip/turnServer", get_turn_server),)
