"""Passwords: `password_management.yaml`."""

from typing import Any

from pydantic import Field

from tim_server.matrix.errors import ThreepidDenied
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class ChangePasswordRequest(RequestModel):
    """The new password, and whether the user's other devices are logged out."""

    new_password: str
    logout_devices: bool | None = None
    auth: dict[str, Any] | None = None


async def change_password(server: Homeserver, requester: Requester, request: ChangePasswordRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/account/password`: set a new password after interactive authentication with the old one.

    The session of the request goes on; all others end, unless `logout_devices` is false.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword
    """
    await server.password_change.change(
        requester, request.new_password, request.auth, logout_devices=request.logout_devices is not False
    )
    return EmptyResponse()


class RequestTokenToResetPasswordEmailRequest(RequestModel):
    """The address of the account."""

    client_secret: str = Field(pattern=r"^[0-9a-zA-Z.=_-]{1,255}$")
    email: str
    send_attempt: int


async def request_token_to_reset_password_email(
    server: Homeserver, request: RequestTokenToResetPasswordEmailRequest
) -> EmptyResponse:
    """`POST /_matrix/client/v3/account/password/email/requestToken`: refused, since accounts here have no addresses.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpasswordemailrequesttoken
    """
    raise ThreepidDenied("Email addresses are not used on this server")


class RequestTokenToResetPasswordMsisdnRequest(RequestModel):
    """The phone number of the account."""

    client_secret: str = Field(pattern=r"^[0-9a-zA-Z.=_-]{1,255}$")
    country: str
    phone_number: str
    send_attempt: int


async def request_token_to_reset_password_msisdn(
    server: Homeserver, request: RequestTokenToResetPasswordMsisdnRequest
) -> EmptyResponse:
    """`POST /_matrix/client/v3/account/password/msisdn/requestToken`: refused, since accounts here have no numbers.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpasswordmsisdnrequesttoken
    """
    raise ThreepidDenied("Phone numbers are not used on this server")


ROUTES = (
    Route("POST", "/_matrix/client/v3/account/password", change_password),
    Route(
        "POST",
        "/_matrix/client/v3/account/password/email/requestToken",
        request_token_to_reset_password_email,
        auth=Auth.NONE,
        rate_limit="registration",
    ),
    Route(
        "POST",
        "/_matrix/client/v3/account/password/msisdn/requestToken",
        request_token_to_reset_password_msisdn,
        auth=Auth.NONE,
        rate_limit="registration",
    ),
)
