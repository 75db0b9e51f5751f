"""Paging through history: `message_pagination.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.client_api.room_event_filter import read_filter
from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.messages import HistoryQuery
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class GetRoomEventsRequest(RequestModel):
    """Which page of a room's history."""

    room_id: InPath[RoomId]
    start: InQuery[str | None] = Field(default=None, alias="from")
    to: InQuery[str | None] = None
    dir: InQuery[Literal["b", "f"]]
    limit: InQuery[int] = Field(default=10, ge=0)
    filter: InQuery[str | None] = None


class GetRoomEventsResponse(ResponseModel):
    """The page; without `end` there is nothing more."""

    start: str
    chunk: list[RawJson]
    end: str | UnsetType = UNSET
    state: list[RawJson] | UnsetType = UNSET


async def get_room_events(
    server: Homeserver, requester: Requester, request: GetRoomEventsRequest
) -> GetRoomEventsResponse:
    """`GET /_matrix/client/v3/rooms/{roomId}/messages`: a page of what the user may see of a room's history.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
    """
    query = HistoryQuery(
        backwards=request.dir == "b",
        limit=request.limit,
        start=request.start or None,
        to=request.to or None,
        filter=read_filter(request.filter),
    )
    page = await server.room_history.page(requester, request.room_id, query)
    return GetRoomEventsResponse(
        start=page.start,
        chunk=[RawJson(event) for event in page.chunk],
        end=UNSET if page.end is None else page.end,
        state=UNSET if page.state is None else [RawJson(event) for event in page.state],
    )


ROUTES = (Route("GET", "/_matrix/client/v3/rooms/{roomId}/messages", get_room_events, auth=Auth.GUEST_OK),)
