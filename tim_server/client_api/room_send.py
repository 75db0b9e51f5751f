"""Sending messages: `room_send.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class SendMessageRequest(RequestModel):
    """What to send where."""

    room_id: InPath[RoomId]
    event_type: InPath[str]
    txn_id: InPath[str]
    content: WholeBody[dict[str, Any]]


class SendMessageResponse(ResponseModel):
    """The event that was sent."""

    event_id: str


async def send_message(server: Homeserver, requester: Requester, request: SendMessageRequest) -> SendMessageResponse:
    """`PUT /_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}`: send a message event, once a transaction id.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidsendeventtypetxnid
    """
    event_id = await server.room_sender.send_message(
        requester, request.room_id, request.event_type, request.content, request.txn_id
    )
    return SendMessageResponse(event_id=event_id)


ROUTES = (
    Route(
        "PUT",
        "/_matrix/client/v3/rooms/{roomId}/send/{eventType}/{txnId}",
        send_message,
        auth=Auth.GUEST_OK,
        rate_limit="send",
    ),
)
