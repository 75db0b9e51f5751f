"""Inviting users: `inviting.yaml`. The same path takes invites of third parties, which need an identity server."""

from pydantic import Field

from tim_server.matrix.errors import MissingParam, ThreepidDenied
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class InviteUserRequest(RequestModel):
    """Whom to invite into which room, and why."""

    room_id: InPath[RoomId]
    target: UserId | None = Field(default=None, alias="user_id")
    medium: str | None = None
    reason: str | None = None


async def invite_user(server: Homeserver, requester: Requester, request: InviteUserRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/invite`: invite a user.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite
    """
    if request.target is None and request.medium is not None:
        raise ThreepidDenied("This server has no identity server to invite third parties with")
    if request.target is None:
        raise MissingParam("user_id is missing")
    await server.moderation.invite(requester, request.room_id, request.target, request.reason)
    return EmptyResponse()


ROUTES = (Route("POST", "/_matrix/client/v3/rooms/{roomId}/invite", invite_user, rate_limit="invite"),)
