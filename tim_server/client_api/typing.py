"""Typing notifications: `typing.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class SetTypingRequest(RequestModel):
    """Whether the user is typing in a room, and for how many milliseconds."""

    user_id: InPath[UserId]
    room_id: InPath[RoomId]
    typing: bool
    timeout: int | None = None


async def set_typing(server: Homeserver, requester: Requester, request: SetTypingRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/rooms/{roomId}/typing/{userId}`: the user is typing for a while, or no longer. Times out
    of bounds are taken for the bound.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3roomsroomidtypinguserid
    """
    if request.typing:
        await server.typing.begin(requester, request.user_id, request.room_id, request.timeout)
    else:
        await server.typing.end(requester, request.user_id, request.room_id)
    return EmptyResponse()


ROUTES = (Route("PUT", "/_matrix/client/v3/rooms/{roomId}/typing/{userId}", set_typing),)
