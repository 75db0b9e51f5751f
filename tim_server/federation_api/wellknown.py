"""Discovery of the server-server API: `wellknown.yaml`."""

import orjson

from tim_server.matrix.errors import NotFound
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class GetWellKnownRequest(RequestModel):
    """Nothing."""


async def get_well_known(server: Homeserver, request: GetWellKnownRequest) -> RawJson:
    """`GET /.well-known/matrix/server`: where the server-server API is, if the operator says so; else 404.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
    """
    if server.well_known.server is None:
        raise NotFound()
    return RawJson(orjson.dumps(server.well_known.server))


ROUTES = (Route("GET", "/.well-known/matrix/server", get_well_known, auth=Auth.NONE),)
