"""Joining rooms: `joining.yaml`."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from tim_server.matrix.identifiers import RoomAlias, RoomId, ServerName
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.remote.third_party_invite import ThirdPartyInvite
from tim_server.web import fields
from tim_server.web.request_model import InPath, InQuery, RequestModel, WholeBody
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route

THIRD_PARTY_SIGNED = "third_party_signed"


class ThirdPartySigned(RequestModel):
    """What an identity server has signed for a user whose address was invited, beside the signatures."""

    sender: fields.UserId
    mxid: fields.UserId
    token: str
    signatures: dict[str, dict[str, str]]


class JoinRoomByIdRequest(RequestModel):
    """Which room, through which servers (`server_name` is what `via` was called before), and why. All that the body
    holds goes into the member event, as clients have it there."""

    room_id: InPath[fields.RoomId]
    via: InQuery[list[str]] = Field(default_factory=list)
    server_name: InQuery[list[str]] = Field(default_factory=list)
    reason: str | None = None
    third_party_signed: ThirdPartySigned | None = None
    body: WholeBody[dict[str, Any]] = Field(default_factory=dict)


class JoinRoomRequest(RequestModel):
    """Which room, by id or alias; else as in `JoinRoomByIdRequest`."""

    room_id_or_alias: InPath[fields.RoomIdOrAlias]
    via: InQuery[list[str]] = Field(default_factory=list)
    server_name: InQuery[list[str]] = Field(default_factory=list)
    reason: str | None = None
    third_party_signed: ThirdPartySigned | None = None
    body: WholeBody[dict[str, Any]] = Field(default_factory=dict)


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
    custom = {key: value for key, value in request.body.items() if key != THIRD_PARTY_SIGNED and value is not None}
    servers: Sequence[ServerName] = fields.server_names([*request.via, *request.server_name])
    if request.third_party_signed is not None:  # whether that makes the user invited, the join will tell
        room, servers = await server.room_join.resolve(room, servers)
        invite = ThirdPartyInvite(
            room_id=room,
            sender=request.third_party_signed.sender,
            invitee=request.third_party_signed.mxid,
            signed=request.body[THIRD_PARTY_SIGNED],
        )
        await server.bound_address.redeem(requester.user_id, invite)
    return JoinRoomResponse(room_id=await server.room_join.join(requester, room, custom, servers))


ROUTES = (
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/join", join_room_by_id, auth=Auth.GUEST_OK, rate_limit="join"),
    Route("POST", "/_matrix/client/v3/join/{roomIdOrAlias}", join_room, auth=Auth.GUEST_OK, rate_limit="join"),
)
