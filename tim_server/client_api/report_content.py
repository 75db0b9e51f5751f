"""Reporting events, rooms and users: `report_content.yaml`."""

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import EventId, RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse
from tim_server.web.route import Route

SCORE_MIN, SCORE_MAX = -(2**31), 2**31 - 1
"""Until v1.18 a score said how bad the content is, from -100 to 0; clients still send it."""


class ReportRoomRequest(RequestModel):
    """The room, and why."""

    room_id: InPath[RoomId]
    reason: str


async def report_room(server: Homeserver, requester: Requester, request: ReportRoomRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/report`: report a room, also one that the user is not in.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreport
    """
    await server.reporting.report_room(requester, request.room_id, reason=request.reason)
    return EmptyResponse()


class ReportEventRequest(RequestModel):
    """The event, and why."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    reason: str | None = None
    score: int | None = Field(default=None, ge=SCORE_MIN, le=SCORE_MAX)


async def report_event(server: Homeserver, requester: Requester, request: ReportEventRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/rooms/{roomId}/report/{eventId}`: report an event of a room that the user is in.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3roomsroomidreporteventid
    """
    await server.reporting.report_event(
        requester, request.room_id, request.event_id, reason=request.reason, score=request.score
    )
    return EmptyResponse()


class ReportUserRequest(RequestModel):
    """The user, and why."""

    user_id: InPath[UserId]
    reason: str


async def report_user(server: Homeserver, requester: Requester, request: ReportUserRequest) -> EmptyResponse:
    """`POST /_matrix/client/v3/users/{userId}/report`: report a user, also one with whom no room is shared.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3usersuseridreport
    """
    await server.reporting.report_user(requester, request.user_id, reason=request.reason)
    return EmptyResponse()


ROUTES = (
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/report", report_room, rate_limit="report"),
    Route("POST", "/_matrix/client/v3/rooms/{roomId}/report/{eventId}", report_event, rate_limit="report"),
    Route("POST", "/_matrix/client/v3/users/{userId}/report", report_user, rate_limit="report"),
)
