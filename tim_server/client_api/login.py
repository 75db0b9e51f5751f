"""Login: `login.yaml`."""

from typing import Any

from tim_server.client_api.session_response import SessionResponse
from tim_server.matrix.errors import MissingParam, Unknown
from tim_server.services.accounts.identify import identified_users
from tim_server.services.accounts.open_session import SessionRequest
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import UNSET, ResponseModel
from tim_server.web.route import Auth, Route

PASSWORD = "m.login.password"


class GetLoginFlowsRequest(RequestModel):
    """Nothing."""


class LoginFlow(ResponseModel):
    """One way to log in."""

    type: str


class GetLoginFlowsResponse(ResponseModel):
    """The ways to log in."""

    flows: tuple[LoginFlow, ...]


async def get_login_flows(server: Homeserver, request: GetLoginFlowsRequest) -> GetLoginFlowsResponse:
    """`GET /_matrix/client/v3/login`: the ways to log in.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3login
    """
    return GetLoginFlowsResponse(flows=(LoginFlow(type=PASSWORD),))


class LoginRequest(RequestModel):
    """Who logs in, with what, on which device. `user`, `medium` and `address` are older forms of `identifier`."""

    type: str
    identifier: dict[str, Any] | None = None
    user: str | None = None
    medium: str | None = None
    address: str | None = None
    password: str | None = None
    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool | None = None


async def login(server: Homeserver, request: LoginRequest) -> SessionResponse:
    """`POST /_matrix/client/v3/login`: open a session on a device, new or known.

    A wrong name and a wrong password give the same answer, after the same work. Tokens that the device had are revoked.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login
    """
    if request.type != PASSWORD:
        raise Unknown("This login type is not supported")
    if request.password is None:
        raise MissingParam("password is missing")
    user_ids = identified_users(
        {"identifier": request.identifier, "user": request.user, "medium": request.medium}, server.server_name
    )
    session = SessionRequest(
        device_id=request.device_id,
        initial_device_display_name=request.initial_device_display_name,
        refreshable=bool(request.refresh_token),
    )
    tokens = await server.login.with_password(user_ids, request.password, session)
    well_known = UNSET if server.well_known.client is None else server.well_known.client
    return SessionResponse.of(tokens.user_id, tokens, well_known=well_known)


ROUTES = (
    Route("GET", "/_matrix/client/v3/login", get_login_flows, auth=Auth.NONE),
    Route("POST", "/_matrix/client/v3/login", login, auth=Auth.NONE, rate_limit="login"),
)
