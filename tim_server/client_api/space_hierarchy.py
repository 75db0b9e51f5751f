"""Spaces: `space_hierarchy.yaml`."""

from typing import Annotated

from pydantic import Field

from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.hierarchy import HierarchyQuery
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.published_room import HierarchyRoom, summarised_fields
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import UNSET, RawJson, ResponseModel, UnsetType
from tim_server.web.route import Route


class GetSpaceHierarchyRequest(RequestModel):
    """Which space, and what of its tree."""

    room_id: InPath[RoomId]
    suggested_only: InQuery[bool] = False
    limit: InQuery[Annotated[int, Field(gt=0)] | None] = None
    max_depth: InQuery[Annotated[int, Field(ge=0)] | None] = None
    start: InQuery[str | None] = Field(default=None, alias="from")


class GetSpaceHierarchyResponse(ResponseModel):
    """A page of the tree."""

    rooms: list[HierarchyRoom]
    next_batch: str | UnsetType = UNSET


async def get_space_hierarchy(
    server: Homeserver, requester: Requester, request: GetSpaceHierarchyRequest
) -> GetSpaceHierarchyResponse:
    """`GET /_matrix/client/v1/rooms/{roomId}/hierarchy`: a space and the rooms below it that the user may find.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
    """
    query = HierarchyQuery(
        suggested_only=request.suggested_only, limit=request.limit, max_depth=request.max_depth, start=request.start
    )
    page = await server.space_hierarchy.page(requester, request.room_id, query)
    return GetSpaceHierarchyResponse(
        rooms=[
            HierarchyRoom(**summarised_fields(summary), children_state=[RawJson(event) for event in children])
            for summary, children in page.rooms
        ],
        next_batch=page.next_batch or UNSET,
    )


ROUTES = (Route("GET", "/_matrix/client/v1/rooms/{roomId}/hierarchy", get_space_hierarchy, rate_limit="directory"),)
