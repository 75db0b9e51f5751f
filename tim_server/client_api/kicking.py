"""Kicking users: `kicking.yaml`."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class KickRequest(RequestModel):
    """Whom to kick out of which room, and why."""

    room_id: InPath[RoomId]
    target: UserId = Field(alias="user_id")
    reason: str | None = None


async def kick(server: Homeserver, requester: Requester, request: KickRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/kick`: make a user leave.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidkick
    """
    await server.moderation.kick(requester, request.room_id, request.target, request.reason)
    return EmptyResponse()


ROUTES = (Route("POST", "/_matrix/client/v3/rooms/{roomId}/kick", kick),)
