"""Invites of this server's users by users of others: `invites-v2.yaml`."""

from typing import Any

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.remote.invited import ReceivedInvite
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route


class SendInviteV2Request(RequestModel):
    """The invite, and what the inviting server tells of the room."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    room_version: str
    event: dict[str, Any]
    invite_room_state: tuple[Any, ...] = ()


class SendInviteV2Response(ResponseModel):
    """The invite, signed by this server."""

    event: dict[str, Any]


async def send_invite_v2(server: Homeserver, origin: ServerName, request: SendInviteV2Request) -> SendInviteV2Response:
    """`PUT /_matrix/federation/v2/invite/{roomId}/{eventId}`: invite a user of this server, which signs the event.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2inviteroomideventid
    """
    invite = ReceivedInvite(
        room_id=request.room_id,
        event_id=request.event_id,
        room_version=request.room_version,
        event=request.event,
        invite_room_state=request.invite_room_state,
    )
    return SendInviteV2Response(event=await server.invite_receipt.receive(origin, invite))


ROUTES = (Route("PUT", "/_matrix/federation/v2/invite/{roomId}/{eventId}", send_invite_v2, auth=Auth.SERVER),)
