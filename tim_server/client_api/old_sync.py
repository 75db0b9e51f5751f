"""What came before sync: `old_sync.yaml`. Deprecated by the specification, and made from sync."""

from pydantic import Field

from tim_server.client_api.peeking_events import EventsResponse, PeekEventsRequest, peek_events
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.errors import GuestAccessForbidden
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.tokens import position_of
from tim_server.services.homeserver import Homeserver
from tim_server.services.sync.event_stream import StreamRequest
from tim_server.services.sync.initial_sync import LIMIT_DEFAULT
from tim_server.web.context import current_request
from tim_server.web.fields import EventId, RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson
from tim_server.web.route import Auth, Route


class GetEventsRequest(RequestModel):
    """Since when, how long to wait, and whether one room is meant."""

    start: InQuery[str | None] = Field(default=None, alias="from")
    timeout: InQuery[int] = 0
    room_id: InQuery[RoomId | None] = None


async def get_events(server: Homeserver, requester: Requester, request: GetEventsRequest) -> EventsResponse:
    """`GET /_matrix/client/v3/events`: what happens in the user's rooms; or, with `room_id`, in a room that they may
    look into.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events
    """
    if request.room_id is not None:
        return await peek_events(
            server, requester, PeekEventsRequest(start=request.start, timeout=request.timeout, room_id=request.room_id)
        )
    if requester.is_guest:
        raise GuestAccessForbidden("Guests name a room")
    asked = StreamRequest(
        since=position_of(request.start) if request.start else None,
        timeout_ms=request.timeout,
        stopping=current_request().shutting_down,
    )
    return EventsResponse.of(await server.event_stream.events(requester, asked))


class InitialSyncRequest(RequestModel):
    """How many messages of each room, and whether rooms that the user has left are wanted too."""

    limit: InQuery[int] = Field(default=LIMIT_DEFAULT, ge=0)
    archived: InQuery[bool] = False


async def initial_sync(server: Homeserver, requester: Requester, request: InitialSyncRequest) -> RawJson:
    """`GET /_matrix/client/v3/initialSync`: all rooms of the user, with the newest messages of each.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3initialsync
    """
    found = await server.initial_sync.whole(requester, limit=request.limit, archived=request.archived)
    return RawJson(encode_relaxed(found))


class GetOneEventRequest(RequestModel):
    """Which event."""

    event_id: InPath[EventId]


async def get_one_event(server: Homeserver, requester: Requester, request: GetOneEventRequest) -> RawJson:
    """`GET /_matrix/client/v3/events/{eventId}`: one event that the user may see, in whatever room.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3eventseventid
    """
    return RawJson(await server.room_event.read_anywhere(requester, request.event_id))


ROUTES = (
    Route("GET", "/_matrix/client/v3/events", get_events, auth=Auth.GUEST_OK),
    Route("GET", "/_matrix/client/v3/initialSync", initial_sync, rate_limit="initial_sync"),
    Route("GET", "/_matrix/client/v3/events/{eventId}", get_one_event),
)
