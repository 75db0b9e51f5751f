"""Logout: `logout.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class LogoutRequest(RequestModel):
    """Nothing."""


async def logout(server: Homeserver, requester: Requester, request: LogoutRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/logout`: end the session; its device goes with all its tokens.

    Locked accounts may do this too.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logout
    """
    await server.logout.logout(requester)
    return EmptyResponse()


async def logout_all(server: Homeserver, requester: Requester, request: LogoutRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/logout/all`: end all sessions of the user; all devices go.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3logoutall
    """
    await server.logout.logout_all(requester.user_id)
    return EmptyResponse()


ROUTES = (
    Route("POST", "/_matrix/client/v3/logout", logout, auth=Auth.LOCKED_OK),
    Route("POST", "/_matrix/client/v3/logout/all", logout_all, auth=Auth.LOCKED_OK),
)
