"""Registration: `registration.yaml`."""

from typing import Any, Literal

from pydantic import Field

from tim_server.client_api.session_response import SessionResponse
from tim_server.matrix.errors import ThreepidDenied
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.register import RegistrationRequest
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import EmptyResponse, ResponseModel
from tim_server.web.route import Auth, Route


class RegisterRequest(RequestModel):
    """The wanted account, its first session, and the state of the authentication."""

    kind: InQuery[Literal["user", "guest"]] = "user"
    auth: dict[str, Any] | None = None
    username: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None
    guest_access_token: str | None = None


async def register(server: Homeserver, request: RegisterRequest) -> SessionResponse:
    """`POST /_matrix/client/v3/register`: make an account, after interactive authentication.

    Guests get theirs at once, where the server has any; of their request only the name of the device counts.

    Where registration is closed, nothing more than that is told.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3register
    """
    if request.kind == "guest":
        guest = await server.registration.register_guest(request.initial_device_display_name)
        return SessionResponse.of(guest.user_id, guest.tokens)
    session = SessionRequest(
        device_id=request.device_id,
        initial_device_display_name=request.initial_device_display_name,
        refreshable=bool(request.refresh_token),
    )
    registered = await server.registration.register(
        RegistrationRequest(
            username=request.username,
            password=request.password,
            session=None if request.inhibit_login else session,
            auth=request.auth,
            guest_token=request.guest_access_token,
        )
    )
    return SessionResponse.of(registered.user_id, registered.tokens)


class CheckUsernameAvailabilityRequest(RequestModel):
    """The wanted name."""

    username: InQuery[str]


class CheckUsernameAvailabilityResponse(ResponseModel):
    """Always true: a name that can't be had is an error."""

    available: bool


async def check_username_availability(
    server: Homeserver, request: CheckUsernameAvailabilityRequest
) -> CheckUsernameAvailabilityResponse:
    """`GET /_matrix/client/v3/register/available`: whether an account may be given this name now.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3registeravailable
    """
    await server.registration.check_available(request.username)
    return CheckUsernameAvailabilityResponse(available=True)


class RequestTokenToRegisterEmailRequest(RequestModel):
    """The address to validate."""

    client_secret: str = Field(pattern=r"^[0-9a-zA-Z.=_-]{1,255}$")
    email: str
    send_attempt: int


async def request_token_to_register_email(
    server: Homeserver, request: RequestTokenToRegisterEmailRequest
) -> EmptyResponse:
    """`POST /_matrix/client/v3/register/email/requestToken`: refused, since accounts here have no email addresses.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registeremailrequesttoken
    """
    raise ThreepidDenied("Email addresses are not used on this server")


class RequestTokenToRegisterMsisdnRequest(RequestModel):
    """The phone number to validate."""

    client_secret: str = Field(pattern=r"^[0-9a-zA-Z.=_-]{1,255}$")
    country: str
    phone_number: str
    send_attempt: int


async def request_token_to_register_msisdn(
    server: Homeserver, request: RequestTokenToRegisterMsisdnRequest
) -> EmptyResponse:
    """`POST /_matrix/client/v3/register/msisdn/requestToken`: refused, since accounts here have no phone numbers.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3registermsisdnrequesttoken
    """
    raise ThreepidDenied("Phone numbers are not used on this server")


ROUTES = (
    Route("POST", "/_matrix/client/v3/register", register, auth=Auth.NONE, rate_limit="registration"),
    Route(
        "GET",
        "/_matrix/client/v3/register/available",
        check_username_availability,
        auth=Auth.NONE,
        rate_limit="registration",
    ),
    Route(
        "POST",
        "/_matrix/client/v3/register/email/requestToken",
        request_token_to_register_email,
        auth=Auth.NONE,
        rate_limit="registration",
    ),
    Route(
        "POST",
        "/_matrix/client/v3/register/msisdn/requestToken",
        request_token_to_register_msisdn,
        auth=Auth.NONE,
        rate_limit="registration",
    ),
)
