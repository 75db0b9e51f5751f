"""Reading around an event: `event_context.yaml`."""

from pydantic import Field

from tim_server.client_api.room_event_filter import read_filter
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.context import ContextQuery
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Auth, Route


class GetEventContextRequest(RequestModel):
    """Around which event, how many, and which."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    limit: InQuery[int] = Field(default=10, ge=0)
    filter: InQuery[str | None] = None


class GetEventContextResponse(ResponseModel):
    """The event, others around it, and the state at the last of them."""

    start: str
    end: str
    event: RawJson
    events_before: list[RawJson]
    events_after: list[RawJson]
    state: list[RawJson]


async def get_event_context(
    server: Homeserver, requester: Requester, request: GetEventContextRequest
) -> GetEventContextResponse:
    """`GET /_matrix/client/v3/rooms/{roomId}/context/{eventId}`: what happened just before and after an event.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid
    """
    query = ContextQuery(event_id=request.event_id, limit=request.limit, filter=read_filter(request.filter))
    context = await server.room_context.read(requester, request.room_id, query)
    return GetEventContextResponse(
        start=context.start,
        end=context.end,
        event=RawJson(context.event),
        events_before=[RawJson(event) for event in context.events_before],
        events_after=[RawJson(event) for event in context.events_after],
        state=[RawJson(event) for event in context.state],
    )


ROUTES = (Route("GET", "/_matrix/client/v3/rooms/{roomId}/context/{eventId}", get_event_context, auth=Auth.GUEST_OK),)
