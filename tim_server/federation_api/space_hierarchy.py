"""Spaces, for other servers: `space_hierarchy.yaml`."""

from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.published_room import HierarchyRoom, SummarisedRoom, summarised_fields
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Auth, Route


class GetSpaceHierarchyRequest(RequestModel):
    """Which space, and which of its children."""

    room_id: InPath[RoomId]
    suggested_only: InQuery[bool] = False


class GetSpaceHierarchyResponse(ResponseModel):
    """The space, its children, and those of them that the server may not find."""

    room: HierarchyRoom
    children: list[SummarisedRoom]
    inaccessible_children: list[str]


async def get_space_hierarchy(
    server: Homeserver, origin: ServerName, request: GetSpaceHierarchyRequest
) -> GetSpaceHierarchyResponse:
    """`GET /_matrix/federation/v1/hierarchy/{roomId}`: a space and its children, as far as a user of the other server
    could find or join them.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
    """
    space = await server.hierarchy_for_servers.of(origin, request.room_id, suggested_only=request.suggested_only)
    events = [RawJson(event) for event in space.events]
    return GetSpaceHierarchyResponse(
        room=HierarchyRoom(**summarised_fields(space.summary), children_state=events),
        children=[SummarisedRoom(**summarised_fields(child)) for child in space.children],
        inaccessible_children=list(space.inaccessible),
    )


ROUTES = (Route("GET", "/_matrix/federation/v1/hierarchy/{roomId}", get_space_hierarchy, auth=Auth.SERVER),)
