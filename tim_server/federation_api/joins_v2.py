"""Joining rooms of this server: `joins-v2.yaml`."""

from collections.abc import AsyncGenerator
from typing import Any

import orjson

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.resident.send_join import JoinedRoom
from tim_server.services.rooms.resident.take_over import HandedIn
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel, WholeBody
from tim_server.web.response_model import StreamedJson
from tim_server.web.route import Auth, Route
from tim_server.web.streamed_json import object_of_arrays


class SendJoinV2Request(RequestModel):
    """A join event, and whether most of the members may be left out of the answer."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    omit_members: InQuery[bool] = False
    event: WholeBody[dict[str, Any]]


async def send_join_v2(server: Homeserver, origin: ServerName, request: SendJoinV2Request) -> StreamedJson:
    """`PUT /_matrix/federation/v2/send_join/{roomId}/{eventId}`: let a user in; the room's state before.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
    """
    handed_in = HandedIn(origin=origin, room_id=request.room_id, event_id=request.event_id, event=request.event)
    joined = await server.join_receipt.receive(handed_in, omit_members=request.omit_members)
    return StreamedJson(pieces=pieces_of(joined, server.server_name))


def pieces_of(joined: JoinedRoom, server_name: ServerName) -> AsyncGenerator[bytes]:
    """The answer, piece by piece."""
    others = {"origin": orjson.dumps(str(server_name)), "event": joined.event}
    if joined.members_omitted:
        others["members_omitted"] = b"true"
        others["servers_in_room"] = orjson.dumps([str(server) for server in joined.servers_in_room])
    return object_of_arrays({"auth_chain": joined.auth_chain, "state": joined.state}, others=others)


ROUTES = (Route("PUT", "/_matrix/federation/v2/send_join/{roomId}/{eventId}", send_join_v2, auth=Auth.SERVER),)
