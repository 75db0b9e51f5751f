"""Closing an account: `account_deactivation.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Route


class DeactivateAccountRequest(RequestModel):
    """Whether the account's data goes too."""

    auth: dict[str, Any] | None = None
    erase: bool | None = None


class DeactivateAccountResponse(ResponseModel):
    """Whether identity servers have forgotten the account: there was nothing for them to forget."""

    id_server_unbind_result: str


async def deactivate_account(
    server: Homeserver, requester: Requester, request: DeactivateAccountRequest
) -> DeactivateAccountResponse:
    """`POST /_matrix/client/v3/account/deactivate`: leave all rooms, end all sessions, and close the account for good.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
    """
    await server.deactivation.deactivate(requester, request.auth, erase=bool(request.erase))
    return DeactivateAccountResponse(id_server_unbind_result="success")


ROUTES = (Route("POST", "/_matrix/client/v3/account/deactivate", deactivate_account),)
