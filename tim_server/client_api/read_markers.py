"""Read markers: `read_markers.yaml`."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.receipts.mark_read import FULLY_READ, Mark
from tim_server.storage.receipts import READ, READ_PRIVATE
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class SetReadMarkerRequest(RequestModel):
    """Up to which events the room is read, looked at, and looked at without telling."""

    room_id: InPath[RoomId]
    fully_read: EventId | None = Field(default=None, alias="m.fully_read")
    read: EventId | None = Field(default=None, alias="m.read")
    read_private: EventId | None = Field(default=None, alias="m.read.private")

    @property
    def marks(self) -> tuple[Mark, ...]:
        """What is to be set."""
        wanted = {FULLY_READ: self.fully_read, READ: self.read, READ_PRIVATE: self.read_private}
        return tuple(
            Mark(receipt_type=receipt_type, event_id=event_id)
            for receipt_type, event_id in wanted.items()
            if event_id is not None
        )


async def set_read_marker(server: Homeserver, requester: Requester, request: SetReadMarkerRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/read_markers`: move the fully-read marker and receipts, all or none.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidread_markers
    """
    await server.read_markers.mark(requester, request.room_id, request.marks)
    return EmptyResponse()


ROUTES = (Route("POST", "/_matrix/client/v3/rooms/{roomId}/read_markers", set_read_marker),)
