"""Events and states of rooms: `events.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.federation_api.pdu_transaction import PduTransaction, pdu_transaction
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import ResponseModel, StreamedJson
from tim_server.web.route import Auth, Route
from tim_server.web.streamed_json import object_of_arrays

TS_MAX = 2**63 - 1


class GetRoomStateRequest(RequestModel):
    """Before which event."""

    room_id: InPath[RoomId]
    event_id: InQuery[EventId]


async def get_room_state(server: Homeserver, origin: ServerName, request: GetRoomStateRequest) -> StreamedJson:
    """`GET /_matrix/federation/v1/state/{roomId}`: the state before an event, and its auth chain.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1stateroomid
    """
    state = await server.resident_state.pdus(origin, request.room_id, request.event_id)
    return StreamedJson(pieces=object_of_arrays({"pdus": state.pdus, "auth_chain": state.auth_chain}))


class GetRoomStateIdsResponse(ResponseModel):
    """The ids of the events of a state, and of its auth chain."""

    pdu_ids: list[str]
    auth_chain_ids: list[str]


async def get_room_state_ids(
    server: Homeserver, origin: ServerName, request: GetRoomStateRequest
) -> GetRoomStateIdsResponse:
    """`GET /_matrix/federation/v1/state_ids/{roomId}`: the state before an event, and its auth chain, the ids alone.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1state_idsroomid
    """
    ids = await server.resident_state.ids(origin, request.room_id, request.event_id)
    return GetRoomStateIdsResponse(pdu_ids=[*ids.pdu_ids], auth_chain_ids=[*ids.auth_chain_ids])


class GetEventRequest(RequestModel):
    """Which event."""

    event_id: InPath[EventId]


async def get_event(server: Homeserver, origin: ServerName, request: GetEventRequest) -> PduTransaction:
    """`GET /_matrix/federation/v1/event/{eventId}`: one event.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid
    """
    return pdu_transaction(server.server_name, [await server.resident_event.pdu(origin, request.event_id)])


class GetEventByTimestampRequest(RequestModel):
    """From which time, and in which direction."""

    room_id: InPath[RoomId]
    ts: InQuery[int] = Field(ge=-TS_MAX, le=TS_MAX)
    dir: InQuery[Literal["f", "b"]]


class GetEventByTimestampResponse(ResponseModel):
    """The event, and when it was sent."""

    event_id: str
    origin_server_ts: int


async def get_event_by_timestamp(
    server: Homeserver, origin: ServerName, request: GetEventByTimestampRequest
) -> GetEventByTimestampResponse:
    """`GET /_matrix/federation/v1/timestamp_to_event/{roomId}`: the nearest event that the server may see.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
    """
    event_id, ts = await server.resident_event_by_time.find(
        origin, request.room_id, request.ts, backwards=request.dir == "b"
    )
    return GetEventByTimestampResponse(event_id=event_id, origin_server_ts=ts)


ROUTES = (
    Route("GET", "/_matrix/federation/v1/state/{roomId}", get_room_state, auth=Auth.SERVER),
    Route("GET", "/_matrix/federation/v1/state_ids/{roomId}", get_room_state_ids, auth=Auth.SERVER),
    Route("GET", "/_matrix/federation/v1/event/{eventId}", get_event, auth=Auth.SERVER),
    Route("GET", "/_matrix/federation/v1/timestamp_to_event/{roomId}", get_event_by_timestamp, auth=Auth.SERVER),
)
