"""The public directory: `list_public_rooms.yaml`."""

from typing import Annotated, Literal

from pydantic import Field

from tim_server.matrix.errors import MissingToken
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.public_rooms import PublicRoomsQuery
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, ServerName
from tim_server.web.published_room import PublicRoomsFilter, PublicRoomsResponse, public_rooms_response
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import EmptyResponse, RawJson, ResponseModel
from tim_server.web.route import Auth, Route


class GetRoomVisibilityOnDirectoryRequest(RequestModel):
    """Which room."""

    room_id: InPath[RoomId]


class GetRoomVisibilityOnDirectoryResponse(ResponseModel):
    """Whether the directory lists it."""

    visibility: Literal["public", "private"]


async def get_room_visibility_on_directory(
    server: Homeserver, request: GetRoomVisibilityOnDirectoryRequest
) -> GetRoomVisibilityOnDirectoryResponse:
    """`GET /_matrix/client/v3/directory/list/room/{roomId}`: whether the public directory lists a room.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid
    """
    is_published = await server.room_publication.is_published(request.room_id)
    return GetRoomVisibilityOnDirectoryResponse(visibility="public" if is_published else "private")


class SetRoomVisibilityOnDirectoryRequest(RequestModel):
    """Which room to list or take out."""

    room_id: InPath[RoomId]
    visibility: Literal["public", "private"] = "public"


async def set_room_visibility_on_directory(
    server: Homeserver, requester: Requester, request: SetRoomVisibilityOnDirectoryRequest
) -> EmptyResponse:
    """`PUT /_matrix/client/v3/directory/list/room/{roomId}`: list a room in the public directory, or take it out.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directorylistroomroomid
    """
    published = request.visibility == "public"
    await server.room_publication.set_published(requester, request.room_id, published=published)
    return EmptyResponse()


class GetPublicRoomsRequest(RequestModel):
    """Which page of which directory. Without a limit, or with 0, pages are as long as the server lets them be."""

    limit: InQuery[Annotated[int, Field(ge=0)] | None] = None
    since: InQuery[str | None] = None
    server: InQuery[ServerName | None] = None


async def get_public_rooms(
    server: Homeserver, requester: Requester | None, request: GetPublicRoomsRequest
) -> PublicRoomsResponse | RawJson:
    """`GET /_matrix/client/v3/publicRooms`: the rooms that a directory lists, those with most members first.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3publicrooms
    """
    query = PublicRoomsQuery(server=request.server, limit=request.limit, since=request.since)
    return await _page(server, requester, query)


class QueryPublicRoomsRequest(RequestModel):
    """Which page of which directory, and which rooms."""

    server: InQuery[ServerName | None] = None
    limit: Annotated[int, Field(ge=0)] | None = None
    since: str | None = None
    filter: PublicRoomsFilter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


async def query_public_rooms(
    server: Homeserver, requester: Requester, request: QueryPublicRoomsRequest
) -> PublicRoomsResponse | RawJson:
    """`POST /_matrix/client/v3/publicRooms`: the rooms of the directory that fit a filter.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3publicrooms
    """
    wanted = request.filter or PublicRoomsFilter()
    query = PublicRoomsQuery(
        server=request.server,
        limit=request.limit,
        since=request.since,
        search_term=wanted.generic_search_term,
        room_types=wanted.room_types,
        third_party_instance_id=None if request.include_all_networks else request.third_party_instance_id,
    )
    return await _page(server, requester, query)


async def _page(
    server: Homeserver, requester: Requester | None, query: PublicRoomsQuery
) -> PublicRoomsResponse | RawJson:
    """A page of this server's directory, or of another's for those who have an account."""
    if query.server in (None, server.server_name):
        return public_rooms_response(await server.public_rooms.page(requester, query))
    if requester is None:
        raise MissingToken("Reading the directories of other servers takes an account")
    return RawJson(await server.remote_public_rooms.page(query.server, query))


ROUTES = (
    Route("GET", "/_matrix/client/v3/directory/list/room/{roomId}", get_room_visibility_on_directory, auth=Auth.NONE),
    Route("PUT", "/_matrix/client/v3/directory/list/room/{roomId}", set_room_visibility_on_directory),
    Route("GET", "/_matrix/client/v3/publicRooms", get_public_rooms, auth=Auth.OPTIONAL, rate_limit="directory"),
    Route("POST", "/_matrix/client/v3/publicRooms", query_public_rooms, rate_limit="directory"),
)
