"""Joining rooms of this server: `joins-v1.yaml`."""

from typing import Any

from pydantic import Field

from tim_server.federation_api.joins_v2 import pieces_of
from tim_server.federation_api.templates import TemplateResponse, template_response
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.resident.take_over import HandedIn
from tim_server.web.fields import EventId, RoomId, UserId
from tim_server.web.request_model import InPath, InQuery, RequestModel, WholeBody
from tim_server.web.response_model import StreamedJson
from tim_server.web.route import Auth, Route
from tim_server.web.streamed_json import pair_with_status


class MakeJoinRequest(RequestModel):
    """Who wants to join which room, and which room versions their server knows."""

    room_id: InPath[RoomId]
    user_id: InPath[UserId]
    ver: InQuery[list[str]] = Field(default=["1"])


async def make_join(server: Homeserver, origin: ServerName, request: MakeJoinRequest) -> TemplateResponse:
    """`GET /_matrix/federation/v1/make_join/{roomId}/{userId}`: what a server needs for the join event of its user.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid
    """
    template = await server.join_templates.make(origin, request.room_id, request.user_id, request.ver)
    return template_response(template.version, template.event)


class SendJoinV1Request(RequestModel):
    """A join event."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    event: WholeBody[dict[str, Any]]


async def send_join_v1(server: Homeserver, origin: ServerName, request: SendJoinV1Request) -> StreamedJson:
    """`PUT /_matrix/federation/v1/send_join/{roomId}/{eventId}`: as `send_join_v2`, which took its place.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_joinroomideventid
    """
    handed_in = HandedIn(origin=origin, room_id=request.room_id, event_id=request.event_id, event=request.event)
    joined = await server.join_receipt.receive(handed_in, omit_members=False)
    return StreamedJson(pieces=pair_with_status(pieces_of(joined, server.server_name)))


ROUTES = (
    Route("GET", "/_matrix/federation/v1/make_join/{roomId}/{userId}", make_join, auth=Auth.SERVER),
    Route("PUT", "/_matrix/federation/v1/send_join/{roomId}/{eventId}", send_join_v1, auth=Auth.SERVER),
)
