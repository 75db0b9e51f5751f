"""Discovery of the client-server API: `wellknown.yaml`."""

import orjson

from tim_server.matrix.errors import NotFound
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class GetWellknownRequest(RequestModel):
    """Nothing."""


async def get_wellknown(server: Homeserver, request: GetWellknownRequest) -> RawJson:
    """`GET /.well-known/matrix/client`: where the client-server API is, if the operator says so; else 404.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixclient
    """
    if server.well_known.client is None:
        raise NotFound()
    return RawJson(orjson.dumps(server.well_known.client))


ROUTES = (Route("GET", "/.well-known/matrix/client", get_wellknown, auth=Auth.NONE),)
