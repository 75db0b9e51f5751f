"""Leaves of users of other servers, as older servers send them, and their templates: `leaving-v1.yaml`."""

from typing import Any

from tim_server.federation_api.templates import TemplateResponse, template_response
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.resident.take_over import HandedIn
from tim_server.web.fields import EventId, RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class MakeLeaveRequest(RequestModel):
    """Who wants to leave which room."""

    room_id: InPath[RoomId]
    user_id: InPath[UserId]


async def make_leave(server: Homeserver, origin: ServerName, request: MakeLeaveRequest) -> TemplateResponse:
    """`GET /_matrix/federation/v1/make_leave/{roomId}/{userId}`: the template of a leave that the rules allow now.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_leaveroomiduserid
    """
    version, event = await server.leave_receipt.make(origin, request.room_id, request.user_id)
    return template_response(version, event)


class SendLeaveV1Request(RequestModel):
    """The signed leave."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    event: WholeBody[dict[str, Any]]


async def send_leave_v1(server: Homeserver, origin: ServerName, request: SendLeaveV1Request) -> RawJson:
    """`PUT /_matrix/federation/v1/send_leave/{roomId}/{eventId}`: leave, answered in the form of older servers.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1send_leaveroomideventid
    """
    leave = HandedIn(origin=origin, room_id=request.room_id, event_id=request.event_id, event=request.event)
    await server.leave_receipt.receive(leave)
    return RawJson(b"[200,{}]")


ROUTES = (
    Route("GET", "/_matrix/federation/v1/make_leave/{roomId}/{userId}", make_leave, auth=Auth.SERVER),
    Route("PUT", "/_matrix/federation/v1/send_leave/{roomId}/{eventId}", send_leave_v1, auth=Auth.SERVER),
)
