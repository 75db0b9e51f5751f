"""Finding events by time: `room_event_by_timestamp.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import ResponseModel
from tim_server.web.route import Auth, Route

TS_MAX = 2**63 - 1


class GetEventByTimestampRequest(RequestModel):
    """From which time, and in which direction."""

    room_id: InPath[RoomId]
    ts: InQuery[int] = Field(ge=0, le=TS_MAX)
    dir: InQuery[Literal["f", "b"]]


class GetEventByTimestampResponse(ResponseModel):
    """The event, and when it was sent."""

    event_id: str
    origin_server_ts: int


async def get_event_by_timestamp(
    server: Homeserver, requester: Requester, request: GetEventByTimestampRequest
) -> GetEventByTimestampResponse:
    """`GET /_matrix/client/v1/rooms/{roomId}/timestamp_to_event`: the nearest event that the user may see.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
    """
    event_id, ts = await server.event_by_time.find(requester, request.room_id, request.ts, backwards=request.dir == "b")
    return GetEventByTimestampResponse(event_id=event_id, origin_server_ts=ts)


ROUTES = (
    Route("GET", "/_matrix/client/v1/rooms/{roomId}/timestamp_to_event", get_event_by_timestamp, auth=Auth.GUEST_OK),
)
