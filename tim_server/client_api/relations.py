"""What relates to an event: `relations.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.relations import RelationsQuery
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class GetRelatingEventsRequest(RequestModel):
    """The parent, and which page of its children."""

    room_id: InPath[RoomId]
    event_id: InPath[EventId]
    start: InQuery[str | None] = Field(default=None, alias="from")
    to: InQuery[str | None] = None
    limit: InQuery[int] = Field(default=20, ge=1)
    dir: InQuery[Literal["b", "f"]] = "b"
    recurse: InQuery[bool | None] = None


class GetRelatingEventsWithRelTypeRequest(GetRelatingEventsRequest):
    """As without a type, of one relation type."""

    rel_type: InPath[str]


class GetRelatingEventsWithRelTypeAndEventTypeRequest(GetRelatingEventsWithRelTypeRequest):
    """As without a type, of one relation type and one event type."""

    event_type: InPath[str]


class GetRelatingEventsResponse(ResponseModel):
    """The page; without `next_batch` there is nothing more."""

    chunk: list[RawJson]
    next_batch: str | UnsetType = UNSET
    prev_batch: str | UnsetType = UNSET
    recursion_depth: int | UnsetType = UNSET


async def get_relating_events(
    server: Homeserver, requester: Requester, request: GetRelatingEventsRequest
) -> GetRelatingEventsResponse:
    """`GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}`: what relates to an event.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventid
    """
    return await _page(server, requester, request)


async def get_relating_events_with_rel_type(
    server: Homeserver, requester: Requester, request: GetRelatingEventsWithRelTypeRequest
) -> GetRelatingEventsResponse:
    """`GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}`: what relates to an event in one way.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltype
    """
    return await _page(server, requester, request, rel_type=request.rel_type)


async def get_relating_events_with_rel_type_and_event_type(
    server: Homeserver, requester: Requester, request: GetRelatingEventsWithRelTypeAndEventTypeRequest
) -> GetRelatingEventsResponse:
    """`GET /_matrix/client/v1/rooms/{roomId}/relations/{eventId}/{relType}/{eventType}`: what relates to an event in
    one way, of one event type.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidrelationseventidreltypeeventtype
    """
    return await _page(server, requester, request, rel_type=request.rel_type, event_type=request.event_type)


async def _page(
    server: Homeserver,
    requester: Requester,
    request: GetRelatingEventsRequest,
    *,
    rel_type: str | None = None,
    event_type: str | None = None,
) -> GetRelatingEventsResponse:
    query = RelationsQuery(
        event_id=request.event_id,
        rel_type=rel_type,
        event_type=event_type,
        recurse=request.recurse,
        backwards=request.dir == "b",
        limit=request.limit,
        start=request.start or None,
        to=request.to or None,
    )
    page = await server.room_relations.page(requester, request.room_id, query)
    return GetRelatingEventsResponse(
        chunk=[RawJson(event) for event in page.chunk],
        next_batch=UNSET if page.next_batch is None else page.next_batch,
        prev_batch=UNSET if page.prev_batch is None else page.prev_batch,
        recursion_depth=UNSET if page.recursion_depth is None else page.recursion_depth,
    )


_PATH = "/_matrix/client/v1/rooms/{roomId}/relations/{eventId}"

ROUTES = (
    Route("GET", _PATH, get_relating_events, auth=Auth.GUEST_OK),
    Route("GET", _PATH + "/{relType}", get_relating_events_with_rel_type, auth=Auth.GUEST_OK),
    Route(
        "GET", _PATH + "/{relType}/{eventType}", get_relating_events_with_rel_type_and_event_type, auth=Auth.GUEST_OK
    ),
)
