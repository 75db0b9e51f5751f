"""Threads of a room: `threads_list.yaml`."""

from typing import Literal

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.threads import ThreadsQuery
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Auth, Route


class GetThreadRootsRequest(RequestModel):
    """Which page of a room's threads."""

    room_id: InPath[RoomId]
    include: InQuery[Literal["all", "participated"]] = "all"
    limit: InQuery[int] = Field(default=20, ge=1)
    start: InQuery[str | None] = Field(default=None, alias="from")


class GetThreadRootsResponse(ResponseModel):
    """Roots of threads; without `next_batch` there are no more."""

    chunk: list[RawJson]
    next_batch: str | UnsetType = UNSET


async def get_thread_roots(
    server: Homeserver, requester: Requester, request: GetThreadRootsRequest
) -> GetThreadRootsResponse:
    """`GET /_matrix/client/v1/rooms/{roomId}/threads`: the threads of a room, those with the newest events first.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidthreads
    """
    query = ThreadsQuery(
        limit=request.limit, start=request.start or None, participated=request.include == "participated"
    )
    page = await server.room_threads.page(requester, request.room_id, query)
    return GetThreadRootsResponse(
        chunk=[RawJson(event) for event in page.chunk],
        next_batch=UNSET if page.next_batch is None else page.next_batch,
    )


ROUTES = (Route("GET", "/_matrix/client/v1/rooms/{roomId}/threads", get_thread_roots, auth=Auth.GUEST_OK),)
