"""Room aliases: `directory.yaml`."""

from tim_server.services.accounts.requester import Requester
from tim_server.services.homeserver import Homeserver
from tim_server.web import fields
from tim_server.web.request_model import InPath, RequestModel
from tim_server.web.response_model import EmptyResponse, ResponseModel
from tim_server.web.route import Auth, Route


class SetRoomAliasRequest(RequestModel):
    """Which alias to point where."""

    room_alias: InPath[fields.RoomAlias]
    room_id: fields.RoomId


async def set_room_alias(server: Homeserver, requester: Requester, request: SetRoomAliasRequest) -> EmptyResponse:
    """`PUT /_matrix/client/v3/directory/room/{roomAlias}`: a new alias of a room.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3directoryroomroomalias
    """
    await server.room_aliases.set(requester, request.room_alias, request.room_id)
    return EmptyResponse()


class RoomAliasRequest(RequestModel):
    """Which alias."""

    room_alias: InPath[fields.RoomAlias]


class GetRoomIdByAliasResponse(ResponseModel):
    """The room, and servers that are in it."""

    room_id: str
    servers: list[str]


async def get_room_id_by_alias(server: Homeserver, request: RoomAliasRequest) -> GetRoomIdByAliasResponse:
    """`GET /_matrix/client/v3/directory/room/{roomAlias}`: the room that an alias points to, of this server or another.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias
    """
    resolved = await server.alias_resolution.resolve(request.room_alias)
    return GetRoomIdByAliasResponse(room_id=resolved.room_id, servers=list(resolved.servers))


async def delete_room_alias(server: Homeserver, requester: Requester, request: RoomAliasRequest) -> EmptyResponse:
    """`DELETE /_matrix/client/v3/directory/room/{roomAlias}`: remove an alias.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3directoryroomroomalias
    """
    await server.room_aliases.delete(requester, request.room_alias)
    return EmptyResponse()


class GetLocalAliasesRequest(RequestModel):
    """Of which room."""

    room_id: InPath[fields.RoomId]


class GetLocalAliasesResponse(ResponseModel):
    """The aliases on this server."""

    aliases: list[str]


async def get_local_aliases(
    server: Homeserver, requester: Requester, request: GetLocalAliasesRequest
) -> GetLocalAliasesResponse:
    """`GET /_matrix/client/v3/rooms/{roomId}/aliases`: the aliases that a room has on this server.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidaliases
    """
    return GetLocalAliasesResponse(aliases=list(await server.room_aliases.of_room(requester, request.room_id)))


ROUTES = (
    Route("PUT", "/_matrix/client/v3/directory/room/{roomAlias}", set_room_alias),
    Route(
        "GET",
        "/_matrix/client/v3/directory/room/{roomAlias}",
        get_room_id_by_alias,
        auth=Auth.NONE,
        rate_limit="directory",
    ),
    Route("DELETE", "/_matrix/client/v3/directory/room/{roomAlias}", delete_room_alias),
    Route("GET", "/_matrix/client/v3/rooms/{roomId}/aliases", get_local_aliases),
    Route("GET", "/_matrix/client/unstable/org.matrix.msc2432/rooms/{roomId}/aliases", get_local_aliases),
)
