"""Versions of the specification: `versions.yaml`."""

from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route

VERSIONS = tuple(f"v1.{minor}" for minor in range(1, 19))
UNSTABLE_FEATURES = {
    "org.matrix.msc3814": True,  # dehydrated devices
    "org.matrix.e2e_cross_signing": True,  # old clients look for it here
    "uk.tcpip.msc4133.stable": True,  # profile fields beyond display name and avatar, under their stable paths
}


class GetVersionsRequest(RequestModel):
    """Nothing."""


class GetVersionsResponse(ResponseModel):
    """Versions, and features that are not in any of them."""

    versions: tuple[str, ...]
    unstable_features: dict[str, bool]


async def get_versions(server: Homeserver, request: GetVersionsRequest) -> GetVersionsResponse:
    """`GET /_matrix/client/versions`: what clients may rely on; the same with and without a token.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientversions
    """
    return GetVersionsResponse(versions=VERSIONS, unstable_features=UNSTABLE_FEATURES)


ROUTES = (Route("GET", "/_matrix/client/versions", get_versions, auth=Auth.NONE),)
