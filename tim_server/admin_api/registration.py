"""Shared-secret registration, as `register_new_matrix_user` and other existing tools call it."""

from pydantic import Field

from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.accounts.shared_secret import SharedSecretRequest
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class GetRegistrationNonceRequest(RequestModel):
    """Nothing."""


class GetRegistrationNonceResponse(ResponseModel):
    """What the proof must cover."""

    nonce: str


async def get_registration_nonce(
    server: Homeserver, request: GetRegistrationNonceRequest
) -> GetRegistrationNonceResponse:
    """`GET /_synapse/admin/v1/register`: a nonce for one registration within a minute."""
    return GetRegistrationNonceResponse(nonce=server.shared_secret_registration.new_nonce())


class RegisterWithSharedSecretRequest(RequestModel):
    """The account, and the proof that the caller knows the secret."""

    nonce: str
    username: str
    password: str
    mac: str
    admin: bool | None = None
    user_type: str | None = None
    display_name: str | None = Field(default=None, alias="displayname")
    device_id: str | None = None
    initial_device_display_name: str | None = None
    inhibit_login: bool | None = None
    refresh_token: bool | None = None


class RegisterWithSharedSecretResponse(ResponseModel):
    """The account, and unless login was inhibited its first session."""

    user_id: str
    home_server: str
    access_token: str | UnsetType = UNSET
    device_id: str | UnsetType = UNSET
    refresh_token: str | UnsetType = UNSET
    expires_in_ms: int | UnsetType = UNSET


async def register_with_shared_secret(
    server: Homeserver, request: RegisterWithSharedSecretRequest
) -> RegisterWithSharedSecretResponse:
    """`POST /_synapse/admin/v1/register`: make an account, an administrator's too, also where registration is closed.

    `mac` is the hex HMAC-SHA1, with the shared secret, of nonce, username, password and `admin` or `notadmin`, and the
    user type if there is one, with NUL between them.
    """
    session = SessionRequest(
        device_id=request.device_id,
        initial_device_display_name=request.initial_device_display_name,
        refreshable=bool(request.refresh_token),
    )
    registered = await server.shared_secret_registration.register(
        SharedSecretRequest(
            nonce=request.nonce,
            username=request.username,
            password=request.password,
            is_admin=bool(request.admin),
            user_type=request.user_type,
            display_name=request.display_name,
            mac=request.mac,
            session=None if request.inhibit_login else session,
        )
    )
    user_id, tokens = registered.user_id, registered.tokens
    if tokens is None:
        return RegisterWithSharedSecretResponse(user_id=user_id, home_server=user_id.server_name)
    return RegisterWithSharedSecretResponse(
        user_id=user_id,
        home_server=user_id.server_name,
        access_token=tokens.access_token,
        device_id=tokens.device_id,
        refresh_token=UNSET if tokens.refresh_token is None else tokens.refresh_token,
        expires_in_ms=UNSET if tokens.expires_in_ms is None else tokens.expires_in_ms,
    )


ROUTES = (
    Route("GET", "/_synapse/admin/v1/register", get_registration_nonce, auth=Auth.NONE, rate_limit="registration"),
    Route("POST", "/_synapse/admin/v1/register", register_with_shared_secret, auth=Auth.NONE, rate_limit="login"),
)
