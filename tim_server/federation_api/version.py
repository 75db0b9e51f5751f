"""What this server is: `version.yaml`."""

from importlib.metadata import version

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class GetVersionRequest(RequestModel):
    """Nothing."""


class SoftwareVersion(ResponseModel):
    """The name of the software, and its version."""

    name: str
    version: str


class GetVersionResponse(ResponseModel):
    """The software."""

    server: SoftwareVersion


async def get_version(server: Homeserver, origin: ServerName | None, request: GetVersionRequest) -> GetVersionResponse:
    """`GET /_matrix/federation/v1/version`: the name and version of the software, told to servers that may be talked
    to, and to anybody where these are all.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1version
    """
    return GetVersionResponse(server=SoftwareVersion(name="tim-server", version=version("tim-server")))


ROUTES = (Route("GET", "/_matrix/federation/v1/version", get_version, auth=Auth.SERVER_OR_STRANGER),)
