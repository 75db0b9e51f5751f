"""Tags of rooms: `tags.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse, ResponseModel
from tim_server.web.route import Route


class GetRoomTagsRequest(RequestModel):
    """Whose tags, of which room."""

    user_id: InPath[UserId]
    room_id: InPath[RoomId]


class GetRoomTagsResponse(ResponseModel):
    """The tags by name."""

    tags: dict[str, Any]


async def get_room_tags(server: Homeserver, requester: Requester, request: GetRoomTagsRequest) -> GetRoomTagsResponse:
    """`GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags`: the tags that the user has given to a room.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidtags
    """
    return GetRoomTagsResponse(tags=await server.room_tags.list(requester, request.user_id, request.room_id))


class DeleteRoomTagRequest(GetRoomTagsRequest):
    """Which tag."""

    tag: InPath[str]


class SetRoomTagRequest(DeleteRoomTagRequest):
    """The tag and what it holds, such as its `order`."""

    content: WholeBody[dict[str, Any]]


async def set_room_tag(server: Homeserver, requester: Requester, request: SetRoomTagRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: tag a room; other devices get it by sync.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidtagstag
    """
    await server.room_tags.set(requester, request.user_id, request.room_id, request.tag, request.content)
    return EmptyResponse()


async def delete_room_tag(server: Homeserver, requester: Requester, request: DeleteRoomTagRequest) -> EmptyResponse:
    """`DELETE /_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}`: take a tag away; without it, do nothing.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3useruseridroomsroomidtagstag
    """
    await server.room_tags.delete(requester, request.user_id, request.room_id, request.tag)
    return EmptyResponse()


ROUTES = (
    Route("GET", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags", get_room_tags),
    Route("PUT", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", set_room_tag),
    Route("DELETE", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/tags/{tag}", delete_room_tag),
)
