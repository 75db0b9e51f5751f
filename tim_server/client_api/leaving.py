"""Leaving and forgetting rooms: `leaving.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class LeaveRoomRequest(RequestModel):
    """Which room, and why."""

    room_id: InPath[RoomId]
    reason: str | None = None


async def leave_room(server: Homeserver, requester: Requester, request: LeaveRoomRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/leave`: leave a room, or decline its invite.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidleave
    """
    await server.room_leave.leave(requester, request.room_id, request.reason)
    return EmptyResponse()


class ForgetRoomRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


async def forget_room(server: Homeserver, requester: Requester, request: ForgetRoomRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/forget`: hide a room that was left, with its history.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidforget
    """
    await server.room_forget.forget(requester, request.room_id)
    return EmptyResponse()


ROUTES = (
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/leave", leave_room, auth=Auth.GUEST_OK),
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/forget", forget_room, auth=Auth.GUEST_OK),
)
