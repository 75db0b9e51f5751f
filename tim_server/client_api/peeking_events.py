"""Looking into a room without joining it: `peeking_events.yaml`. `/events` leads here where it names a room."""

from typing import Self

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.events.tokens import position_of
from tim_server.services.homeserver import Homeserver
from tim_server.services.sync.event_stream import StreamPage, StreamRequest
from tim_server.web.context import current_request
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel


class PeekEventsRequest(RequestModel):
    """Since when, how long to wait, and which room."""

    start: InQuery[str | None] = Field(default=None, alias="from")
    timeout: InQuery[int] = 0
    room_id: InQuery[RoomId]


class EventsResponse(ResponseModel):
    """The events, and the tokens before and after them."""

    start: str
    end: str
    chunk: list[RawJson]

    @classmethod
    def of(cls, page: StreamPage) -> Self:
        """The response for a page of the stream."""
        return cls(start=page.start, end=page.end, chunk=[RawJson(event) for event in page.chunk])


async def peek_events(server: Homeserver, requester: Requester, request: PeekEventsRequest) -> EventsResponse:
    """`GET /_matrix/client/v3/events`: what happens in one room, also for those who may look into it without joining.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3events
    """
    asked = StreamRequest(
        since=position_of(request.start) if request.start else None,
        timeout_ms=request.timeout,
        stopping=current_request().shutting_down,
    )
    return EventsResponse.of(await server.event_stream.peek(requester, request.room_id, asked))
