"""Joining rooms: `joining.yaml`."""

from typing import Any

from tim_server.matrix.errors import ThreepidDenied
from tim_server.matrix.identifiers import RoomAlias, RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web import fields
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class JoinRoomByIdRequest(RequestModel):
    """Which room, and why."""

    room_id: InPath[fields.RoomId]
    third_party_signed: dict[str, Any] | None = None
    reason: str | None = None


class JoinRoomRequest(RequestModel):
    """Which room, by id or alias, and why."""

    room_id_or_alias: InPath[fields.RoomIdOrAlias]
    third_party_signed: dict[str, Any] | None = None
    reason: str | None = None


class JoinRoomResponse(ResponseModel):
    """The joined room."""

    room_id: str


async def join_room_by_id(server: Homeserver, requester: Requester, request: JoinRoomByIdRequest) -> JoinRoomResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/join`: take part in a room.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidjoin
    """
    return await _join(server, requester, request.room_id, request)


async def join_room(server: Homeserver, requester: Requester, request: JoinRoomRequest) -> JoinRoomResponse:
    """`POST /_matrix/client/v3/join/{roomIdOrAlias}`: take part in a room, named by id or alias.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3joinroomidoralias
    """
    return await _join(server, requester, request.room_id_or_alias, request)


async def _join(
    server: Homeserver, requester: Requester, room: RoomId | RoomAlias, request: JoinRoomByIdRequest | JoinRoomRequest
) -> JoinRoomResponse:
    if request.third_party_signed is not None:
        raise ThreepidDenied("This server takes no invites of third parties")
    return JoinRoomResponse(room_id=await server.room_join.join(requester, room, request.reason))


ROUTES = (
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/join", join_room_by_id, auth=Auth.GUEST_OK, rate_limit="join"),
    Route("POST", "/_matrix/client/v3/join/{roomIdOrAlias}", join_room, auth=Auth.GUEST_OK, rate_limit="join"),
)
