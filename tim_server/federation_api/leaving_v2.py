"""Leaves of users of other servers: `leaving-v2.yaml`."""

from typing import Any

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.resident.take_over import HandedIn
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Auth, Route


class SendLeaveV2Request(RequestModel):
    """The signed leave."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    event: WholeBody[dict[str, Any]]


async def send_leave_v2(server: Homeserver, origin: ServerName, request: SendLeaveV2Request) -> EmptyResponse:
    """`PUT /_matrix/federation/v2/send_leave/{roomId}/{eventId}`: leave a room, decline an invite, take a knock back.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_leaveroomideventid
    """
    leave = HandedIn(origin=origin, room_id=request.room_id, event_id=request.event_id, event=request.event)
    await server.leave_receipt.receive(leave)
    return EmptyResponse()


ROUTES = (Route("PUT", "/_matrix/federation/v2/send_leave/{roomId}/{eventId}", send_leave_v2, auth=Auth.SERVER),)
