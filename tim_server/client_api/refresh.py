"""Refreshing access tokens: `refresh.yaml`."""

from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class RefreshRequest(RequestModel):
    """The refresh token."""

    refresh_token: str


class RefreshResponse(ResponseModel):
    """The new pair of tokens."""

    access_token: str
    refresh_token: str | UnsetType = UNSET
    expires_in_ms: int | UnsetType = UNSET


async def refresh(server: Homeserver, request: RefreshRequest) -> RefreshResponse:
    """`POST /_matrix/client/v3/refresh`: a new pair of tokens; the old one is valid until the new one is used.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3refresh
    """
    tokens = await server.refresh.refresh(request.refresh_token)
    return RefreshResponse(
        access_token=tokens.access_token,
        refresh_token=UNSET if tokens.refresh_token is None else tokens.refresh_token,
        expires_in_ms=UNSET if tokens.expires_in_ms is None else tokens.expires_in_ms,
    )


ROUTES = (Route("POST", "/_matrix/client/v3/refresh", refresh, auth=Auth.NONE),)
