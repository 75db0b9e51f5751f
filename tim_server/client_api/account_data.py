"""Account data: `account-data.yaml`."""

from typing import Any

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web.fields import RoomId, UserId
from tim_server.web.request_model import InPath, RequestModel, WholeBody
from tim_server.web.response_model import EmptyResponse, RawJson
from tim_server.web.route import Route


class GetAccountDataRequest(RequestModel):
    """Whose account data, and of which type."""

    user_id: InPath[UserId]
    type: InPath[str]


async def get_account_data(server: Homeserver, requester: Requester, request: GetAccountDataRequest) -> RawJson:
    """`GET /_matrix/client/v3/user/{userId}/account_data/{type}`: the content of a global entry.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridaccount_datatype
    """
    return RawJson(await server.account_data.read(requester, request.user_id, request.type, None))


class SetAccountDataRequest(GetAccountDataRequest):
    """The entry and its content."""

    content: WholeBody[dict[str, Any]]


async def set_account_data(server: Homeserver, requester: Requester, request: SetAccountDataRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/user/{userId}/account_data/{type}`: set a global entry; other devices get it by sync.

    Types that the server manages are refused with 405.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridaccount_datatype
    """
    await server.account_data.put(requester, request.user_id, request.type, request.content, None)
    return EmptyResponse()


class GetAccountDataPerRoomRequest(GetAccountDataRequest):
    """Whose account data, for which room, and of which type."""

    room_id: InPath[RoomId]


async def get_account_data_per_room(
    server: Homeserver, requester: Requester, request: GetAccountDataPerRoomRequest
) -> RawJson:
    """`GET /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`: the content of a room's entry.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3useruseridroomsroomidaccount_datatype
    """
    return RawJson(await server.account_data.read(requester, request.user_id, request.type, request.room_id))


class SetAccountDataPerRoomRequest(GetAccountDataPerRoomRequest):
    """The entry of a room and its content."""

    content: WholeBody[dict[str, Any]]


async def set_account_data_per_room(
    server: Homeserver, requester: Requester, request: SetAccountDataPerRoomRequest
) -> EmptyResponse:
    """`PUT /_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}`: set a room's entry.

    Types that the server manages are refused with 405.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3useruseridroomsroomidaccount_datatype
    """
    await server.account_data.put(requester, request.user_id, request.type, request.content, request.room_id)
    return EmptyResponse()


ROUTES = (
    Route("GET", "/_matrix/client/v3/user/{userId}/account_data/{type}", get_account_data),
    Route("PUT", "/_matrix/client/v3/user/{userId}/account_data/{type}", set_account_data),
    Route("GET", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", get_account_data_per_room),
    Route("PUT", "/_matrix/client/v3/user/{userId}/rooms/{roomId}/account_data/{type}", set_account_data_per_room),
)
