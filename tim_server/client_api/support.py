"""Contacts of the operator: `support.yaml`."""

import orjson

from tim_server.matrix.errors import NotFound
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class GetWellknownSupportRequest(RequestModel):
    """Nothing."""


async def get_wellknown_support(server: Homeserver, request: GetWellknownSupportRequest) -> RawJson:
    """`GET /.well-known/matrix/support`: whom to turn to, if the operator says so; else 404.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#getwell-knownmatrixsupport
    """
    if server.well_known.support is None:
        raise NotFound()
    return RawJson(orjson.dumps(server.well_known.support))


ROUTES = (Route("GET", "/.well-known/matrix/support", get_wellknown_support, auth=Auth.NONE),)
