"""Invites of this server's users by users of others, as servers send them that know rooms of versions 1 and 2 only:
`invites-v1.yaml`."""

from typing import Any

from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.remote.invited import ReceivedInvite
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class SendInviteV1Request(RequestModel):
    """The invite; `invite_room_state` is in its `unsigned`."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    event: WholeBody[dict[str, Any]]


async def send_invite_v1(server: Homeserver, origin: ServerName, request: SendInviteV1Request) -> RawJson:
    """`PUT /_matrix/federation/v1/invite/{roomId}/{eventId}`: invite a user of this server, which signs the event.

    "Servers which receive a v1 invite request must assume that the room version is either "1" or "2"": events of both
    have the same form.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1inviteroomideventid
    """
    unsigned = request.event.get("unsigned")
    told = unsigned.get("invite_room_state") if isinstance(unsigned, dict) else None
    invite = ReceivedInvite(
        room_id=request.room_id,
        event_id=request.event_id,
        room_version="1",
        event=request.event,
        invite_room_state=told if isinstance(told, list) else (),
    )
    return RawJson(encode_relaxed([200, {"event": await server.invite_receipt.receive(origin, invite)}]))


ROUTES = (Route("PUT", "/_matrix/federation/v1/invite/{roomId}/{eventId}", send_invite_v1, auth=Auth.SERVER),)
