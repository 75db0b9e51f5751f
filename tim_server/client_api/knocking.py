"""Knocking on rooms: `knocking.yaml`."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomIdOrAlias, server_names
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Route


class KnockRoomRequest(RequestModel):
    """Which room, by id or alias, and why. `server_name` is what older clients call `via`."""

    room_id_or_alias: InPath[RoomIdOrAlias]
    via: InQuery[list[str]] = Field(default_factory=list)
    server_name: InQuery[list[str]] = Field(default_factory=list)
    reason: str | None = None


class KnockRoomResponse(ResponseModel):
    """The room that was knocked on."""

    room_id: str


async def knock_room(server: Homeserver, requester: Requester, request: KnockRoomRequest) -> KnockRoomResponse:
    """`POST /_matrix/client/v3/knock/{roomIdOrAlias}`: ask to be let in.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3knockroomidoralias
    """
    servers = server_names([*request.via, *request.server_name])
    room_id = await server.room_knock.knock(requester, request.room_id_or_alias, request.reason, servers)
    return KnockRoomResponse(room_id=room_id)


ROUTES = (Route("POST", "/_matrix/client/v3/knock/{roomIdOrAlias}", knock_room, rate_limit="join"),)
