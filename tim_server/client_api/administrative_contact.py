"""Email addresses and phone numbers of accounts: `administrative_contact.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.request_model import RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Route


class GetAccount3PidsRequest(RequestModel):
    """Nothing beside the requester."""


class GetAccount3PidsResponse(ResponseModel):
    """The account's third-party identifiers."""

    threepids: list[RawJson]


async def get_account_3pids(
    server: Homeserver, requester: Requester, request: GetAccount3PidsRequest
) -> GetAccount3PidsResponse:
    """`GET /_matrix/client/v3/account/3pid`: none, since accounts here have neither addresses nor numbers.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3account3pid
    """
    return GetAccount3PidsResponse(threepids=[])


ROUTES = (Route("GET", "/_matrix/client/v3/account/3pid", get_account_3pids),)
