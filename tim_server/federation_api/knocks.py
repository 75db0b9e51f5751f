"""Knocks of users of other servers: `knocks.yaml`."""

from typing import Any

from tim_server.federation_api.templates import TemplateResponse, template_response
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.resident.take_over import HandedIn
from tim_server.web.fields import EventId, RoomId, UserId
from tim_server.web.request_model import InPath, InQuery, RequestModel, WholeBody
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class MakeKnockRequest(RequestModel):
    """Who wants to knock on which room, and the room versions that their server supports."""

    room_id: InPath[RoomId]
    user_id: InPath[UserId]
    ver: InQuery[list[str]]


async def make_knock(server: Homeserver, origin: ServerName, request: MakeKnockRequest) -> TemplateResponse:
    """`GET /_matrix/federation/v1/make_knock/{roomId}/{userId}`: the template of a knock that the rules allow now.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_knockroomiduserid
    """
    version, event = await server.knock_receipt.make(origin, request.room_id, request.user_id, request.ver)
    return template_response(version, event)


class SendKnockRequest(RequestModel):
    """The signed knock."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    event: WholeBody[dict[str, Any]]


async def send_knock(server: Homeserver, origin: ServerName, request: SendKnockRequest) -> RawJson:
    """`PUT /_matrix/federation/v1/send_knock/{roomId}/{eventId}`: knock; what the knocking server is told of the room.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_knockroomideventid
    """
    knock = HandedIn(origin=origin, room_id=request.room_id, event_id=request.event_id, event=request.event)
    return RawJson(encode_relaxed({"knock_room_state": await server.knock_receipt.receive(knock)}))


ROUTES = (
    Route("GET", "/_matrix/federation/v1/make_knock/{roomId}/{userId}", make_knock, auth=Auth.SERVER),
    Route("PUT", "/_matrix/federation/v1/send_knock/{roomId}/{eventId}", send_knock, auth=Auth.SERVER),
)
