"""Receipts: `receipts.yaml`."""

from typing import Any, Literal

from pydantic import Field

from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.identifiers import EventId as EventIdentifier
from tim_server.matrix.identifiers import InvalidIdentifier
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.receipts.mark_read import FULLY_READ, Mark
from tim_server.storage.receipts import MAIN_THREAD, UNTHREADED
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class PostReceiptRequest(RequestModel):
    """Up to which event the room is read; the body may name a thread."""

    room_id: InPath[RoomId]
    receipt_type: InPath[Literal["m.read", "m.read.private", "m.fully_read"]]
    event_id: InPath[EventId]
    content: WholeBody[dict[str, Any]] = Field(default_factory=dict)

    @property
    def thread_id(self) -> str:
        """The thread, empty where the receipt is about all of the room; raises `InvalidParam`."""
        if "thread_id" not in self.content:
            return UNTHREADED
        thread_id = self.content["thread_id"]
        if self.receipt_type == FULLY_READ:
            raise InvalidParam("thread_id: the fully-read marker has no thread")
        if thread_id == MAIN_THREAD:
            return MAIN_THREAD
        try:
            return EventIdentifier.parse(thread_id if isinstance(thread_id, str) else "")
        except InvalidIdentifier:
            raise InvalidParam("thread_id must be main or the id of an event") from None


async def post_receipt(server: Homeserver, requester: Requester, request: PostReceiptRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}`: the room, or a thread, is read up to
    here. A receipt never moves backwards; a private one is shown to nobody else.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreceiptreceipttypeeventid
    """
    mark = Mark(receipt_type=request.receipt_type, event_id=request.event_id, thread_id=request.thread_id)
    await server.read_markers.mark(requester, request.room_id, (mark,))
    return EmptyResponse()


ROUTES = (Route("POST", "/_matrix/client/v3/rooms/{roomId}/receipt/{receiptType}/{eventId}", post_receipt),)
