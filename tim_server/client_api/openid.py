"""Prove to other services who one is: `openid.yaml`."""

from tim_server.services.accounts.openid import LIFETIME_MS
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class RequestOpenIdTokenRequest(RequestModel):
    """Whose token: one's own."""

    user_id: InPath[UserId]


class RequestOpenIdTokenResponse(ResponseModel):
    """The token, how long it is valid (in seconds), and where it can be shown."""

    access_token: str
    token_type: str
    matrix_server_name: str
    expires_in: int


async def request_open_id_token(
    server: Homeserver, requester: Requester, request: RequestOpenIdTokenRequest
) -> RequestOpenIdTokenResponse:
    """`POST /_matrix/client/v3/user/{userId}/openid/request_token`: a token by which another service learns from this
    server who the user is. It gives no access to anything.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridopenidrequest_token
    """
    token = await server.openid_tokens.request(requester, request.user_id)
    return RequestOpenIdTokenResponse(
        access_token=token,
        token_type="Bearer",
        matrix_server_name=server.server_name,
        expires_in=LIFETIME_MS // 1000,
    )


ROUTES = (
    Route("POST", "/_matrix/client/v3/user/{userId}/openid/request_token", request_open_id_token, auth=Auth.GUEST_OK),
)
