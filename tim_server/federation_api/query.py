"""Profiles and aliases, for other servers: `query.yaml`."""

import msgspec

from tim_server.matrix.errors import InvalidParam, NotFound
from tim_server.matrix.identifiers import ServerName
from tim_server.services.homeserver import Homeserver
from tim_server.web import fields
from tim_server.web.request_model import InPath, InQuery, RequestModel
from tim_server.web.response_model import RawJson, ResponseModel
from tim_server.web.route import Auth, Route


class QueryProfileRequest(RequestModel):
    """Whose profile, and which field; all without one."""

    user_id: InQuery[fields.UserId]
    field: InQuery[str | None] = None


async def query_profile(server: Homeserver, origin: ServerName, request: QueryProfileRequest) -> RawJson:
    """`GET /_matrix/federation/v1/query/profile`: the profile of a user of this server, or one of its fields.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryprofile
    """
    if request.user_id.server_name != server.server_name:
        raise NotFound("The user is not of this server")
    profile = await server.profile_reader.local_profile(request.user_id)
    if request.field is not None:
        profile = {name: value for name, value in profile.items() if name == request.field}
    return RawJson(msgspec.json.encode({name: RawJson(value) for name, value in profile.items()}))


class QueryRoomDirectoryRequest(RequestModel):
    """Which alias."""

    room_alias: InQuery[fields.RoomAlias]


class QueryRoomDirectoryResponse(ResponseModel):
    """The room, and servers that are in it."""

    room_id: str
    servers: list[str]


async def query_room_directory(
    server: Homeserver, origin: ServerName, request: QueryRoomDirectoryRequest
) -> QueryRoomDirectoryResponse:
    """`GET /_matrix/federation/v1/query/directory`: the room that an alias of this server points to.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1querydirectory
    """
    resolved = await server.alias_resolution.resolve_own(request.room_alias)
    return QueryRoomDirectoryResponse(room_id=resolved.room_id, servers=list(resolved.servers))


class QueryInfoRequest(RequestModel):
    """What kind of question."""

    query_type: InPath[str]


async def query_info(server: Homeserver, origin: ServerName, request: QueryInfoRequest) -> RawJson:
    """`GET /_matrix/federation/v1/query/{queryType}`: there are no other questions than those above.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1queryquerytype
    """
    raise InvalidParam("Questions of this type are not answered")


ROUTES = (
    Route("GET", "/_matrix/federation/v1/query/profile", query_profile, auth=Auth.SERVER),
    Route("GET", "/_matrix/federation/v1/query/directory", query_room_directory, auth=Auth.SERVER),
    Route("GET", "/_matrix/federation/v1/query/{queryType}", query_info, auth=Auth.SERVER),
)
