"""Redacting events: `redaction.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.send import transaction_key
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class RedactEventRequest(RequestModel):
    """Which event to redact, and why."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    txn_id: InPath[str]
    reason: str | None = None


class RedactEventResponse(ResponseModel):
    """The redaction event."""

    event_id: str


async def redact_event(server: Homeserver, requester: Requester, request: RedactEventRequest) -> RedactEventResponse:
    """`PUT /_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}`: strip an event of its content, for good.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidredacteventidtxnid
    """
    transaction = transaction_key(requester, request.txn_id, "redact", request.room_id, request.event_id)
    content = {} if request.reason is None else {"reason": request.reason}
    event_id = await server.redaction.send(requester, request.room_id, request.event_id, content, transaction)
    return RedactEventResponse(event_id=event_id)


ROUTES = (
    Route(
        "PUT",
        "/_matrix/client/v3/rooms/{roomId}/redact/{eventId}/{txnId}",
        redact_event,
        auth=Auth.GUEST_OK,
        rate_limit="send",
    ),
)
