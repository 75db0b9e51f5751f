"""Banning users: `banning.yaml`."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class BanRequest(RequestModel):
    """Whom to ban from which room, or whose ban to lift, and why."""

    room_id: InPath[RoomId]
    target: UserId = Field(alias="user_id")
    reason: str | None = None


async def ban(server: Homeserver, requester: Requester, request: BanRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/ban`: ban a user.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidban
    """
    await server.moderation.ban(requester, request.room_id, request.target, request.reason)
    return EmptyResponse()


async def unban(server: Homeserver, requester: Requester, request: BanRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/unban`: lift a ban.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidunban
    """
    await server.moderation.unban(requester, request.room_id, request.target, request.reason)
    return EmptyResponse()


ROUTES = (
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/ban", ban),
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/unban", unban),
)
