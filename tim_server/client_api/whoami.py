"""Who a token stands for: `whoami.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import UNSET, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class GetTokenOwnerRequest(RequestModel):
    """Nothing."""


class GetTokenOwnerResponse(ResponseModel):
    """The owner of a token. `device_id` is left out for tokens without a device."""

    user_id: str
    is_guest: bool
    device_id: str | UnsetType = UNSET


async def get_token_owner(
    server: Homeserver, requester: Requester, request: GetTokenOwnerRequest
) -> GetTokenOwnerResponse:
    """`GET /_matrix/client/v3/account/whoami`: the user and device of the access token.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3accountwhoami
    """
    return GetTokenOwnerResponse(
        user_id=requester.user_id,
        is_guest=requester.is_guest,
        device_id=UNSET if requester.device_id is None else requester.device_id,
    )


ROUTES = (Route("GET", "/_matrix/client/v3/account/whoami", get_token_owner, auth=Auth.GUEST_OK),)
