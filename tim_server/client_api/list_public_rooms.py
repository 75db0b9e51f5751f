"""The public directory: `list_public_rooms.yaml`, as far as it is about one room."""

from typing import Literal

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse, ResponseModel
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


ROUTES = (
    Route("GET", "/_matrix/client/v3/directory/list/room/{roomId}", get_room_visibility_on_directory, auth=Auth.NONE),
    Route("PUT", "/_matrix/client/v3/directory/list/room/{roomId}", set_room_visibility_on_directory),
)
