"""Registration tokens: `registration_tokens.yaml`."""

from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class RegistrationTokenValidityRequest(RequestModel):
    """The token."""

    token: InQuery[str]


class RegistrationTokenValidityResponse(ResponseModel):
    """Whether a registration may begin with the token now."""

    valid: bool


async def registration_token_validity(
    server: Homeserver, request: RegistrationTokenValidityRequest
) -> RegistrationTokenValidityResponse:
    """`GET /_matrix/client/v1/register/m.login.registration_token/validity`: whether a token is valid now.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1registermloginregistration_tokenvalidity
    """
    return RegistrationTokenValidityResponse(valid=await server.registration_tokens.is_valid(request.token))


ROUTES = (
    Route(
        "GET",
        "/_matrix/client/v1/register/m.login.registration_token/validity",
        registration_token_validity,
        auth=Auth.NONE,
        rate_limit="registration",
    ),
)
