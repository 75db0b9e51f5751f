"""Tell other services who a user is: `openid.yaml`."""

from tim_server.matrix.errors import MissingToken
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class ExchangeOpenIdTokenRequest(RequestModel):
    """The token that the user has shown."""

    access_token: InQuery[str | None] = None


class ExchangeOpenIdTokenResponse(ResponseModel):
    """The user."""

    sub: str


async def exchange_open_id_token(
    server: Homeserver, request: ExchangeOpenIdTokenRequest
) -> ExchangeOpenIdTokenResponse:
    """`GET /_matrix/federation/v1/openid/userinfo`: whose OpenID token this is. Who asks need not be a homeserver.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1openiduserinfo
    """
    if not request.access_token:
        raise MissingToken()
    return ExchangeOpenIdTokenResponse(sub=await server.openid_tokens.owner(request.access_token))


ROUTES = (Route("GET", "/_matrix/federation/v1/openid/userinfo", exchange_open_id_token, auth=Auth.NONE),)
