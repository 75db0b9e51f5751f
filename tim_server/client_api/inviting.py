"""Inviting users: `inviting.yaml`. The same path takes invites of third parties, by their address."""

from pydantic import Field

from tim_server.client_api.third_party_membership import Invite3pid, invite_by_3pid
from tim_server.matrix.errors import MissingParam
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, ServerName, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route


class InviteUserRequest(RequestModel):
    """Whom to invite into which room, and why: a user, or whoever has an address."""

    room_id: InPath[RoomId]
    target: UserId | None = Field(default=None, alias="user_id")
    reason: str | None = None
    id_server: ServerName | None = None
    id_access_token: str | None = None
    medium: str | None = None
    address: str | None = None

    @property
    def invite_3pid(self) -> Invite3pid:
        """The address; raises `MissingParam`."""
        names = ("id_server", "id_access_token", "medium", "address")
        for name in names:
            if getattr(self, name) is None:
                raise MissingParam(f"{name} is missing")
        return Invite3pid(**{name: getattr(self, name) for name in names})


async def invite_user(server: Homeserver, requester: Requester, request: InviteUserRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/invite`: invite a user; or, with `medium`, whoever has an address.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidinvite
    """
    if request.target is None and request.medium is not None:
        return await invite_by_3pid(server, requester, request.room_id, request.invite_3pid)
    if request.target is None:
        raise MissingParam("user_id is missing")
    await server.moderation.invite(requester, request.room_id, request.target, request.reason)
    return EmptyResponse()


ROUTES = (Route("POST", "/_matrix/client/v3/rooms/{roomId}/invite", invite_user, rate_limit="invite"),)
