"""History of rooms: `backfill.yaml`."""

from pydantic import Field

from tim_server.federation_api.pdu_transaction import PduTransaction, pdu_transaction
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.resident.history import MissingEvents
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Auth, Route

DEPTH_MAX = 2**63 - 1


class BackfillRoomRequest(RequestModel):
    """From which events to go back, and how many to tell with them."""

    room_id: InPath[RoomId]
    v: InQuery[list[EventId]]
    limit: InQuery[int] = Field(ge=1)


async def backfill_room(server: Homeserver, origin: ServerName, request: BackfillRoomRequest) -> PduTransaction:
    """`GET /_matrix/federation/v1/backfill/{roomId}`: events and what precedes them, as far as the server may see it.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1backfillroomid
    """
    pdus = await server.resident_history.before(origin, request.room_id, request.v, request.limit)
    return pdu_transaction(server.server_name, pdus)


class GetMissingPreviousEventsRequest(RequestModel):
    """Between which events the missing ones are."""

    room_id: InPath[RoomId]
    earliest_events: list[str]
    latest_events: list[str]
    limit: int = Field(default=10, ge=0)
    min_depth: int = Field(default=0, le=DEPTH_MAX)


class GetMissingPreviousEventsResponse(ResponseModel):
    """The events, oldest first."""

    events: list[RawJson]


async def get_missing_previous_events(
    server: Homeserver, origin: ServerName, request: GetMissingPreviousEventsRequest
) -> GetMissingPreviousEventsResponse:
    """`POST /_matrix/federation/v1/get_missing_events/{roomId}`: what lies between events that a server has.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1get_missing_eventsroomid
    """
    wanted = MissingEvents(
        latest=request.latest_events,
        earliest=request.earliest_events,
        limit=request.limit,
        depth_min=max(request.min_depth, 0),
    )
    events = await server.resident_history.missing(origin, request.room_id, wanted)
    return GetMissingPreviousEventsResponse(events=[RawJson(event) for event in events])


ROUTES = (
    Route("GET", "/_matrix/federation/v1/backfill/{roomId}", backfill_room, auth=Auth.SERVER),
    Route(
        "POST",
        "/_matrix/federation/v1/get_missing_events/{roomId}",
        get_missing_previous_events,
        auth=Auth.SERVER,
    ),
)
