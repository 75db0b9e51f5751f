"""Messages to devices: `to_device.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class SendToDeviceRequest(RequestModel):
    """The type, the transaction id, and contents by user and device (`*` for all devices)."""

    event_type: InPath[str]
    txn_id: InPath[str]
    messages: dict[UserId, dict[str, dict[str, Any]]]


async def send_to_device(server: Homeserver, requester: Requester, request: SendToDeviceRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/sendToDevice/{eventType}/{txnId}`: queue messages for devices, which get them by sync.

    All messages of a request are queued together, and once, however often the request is repeated. A message waits
    until its device has come back with a token that covers it. Users of other servers get none yet.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3sendtodeviceeventtypetxnid
    """
    await server.to_device_sender.send(requester, request.event_type, request.txn_id, request.messages)
    return EmptyResponse()


ROUTES = (
    Route(
        "PUT",
        "/_matrix/client/v3/sendToDevice/{eventType}/{txnId}",
        send_to_device,
        auth=Auth.GUEST_OK,
        rate_limit="to_device",
    ),
)
