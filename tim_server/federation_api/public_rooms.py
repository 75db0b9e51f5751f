"""The public directory, for other servers: `public_rooms.yaml`."""

from typing import Annotated

from pydantic import Field

from tim_server.matrix.identifiers import ServerName
from tim_server.services.directory.public_rooms import PublicRoomsQuery
from tim_server.services.homeserver import Homeserver
from tim_server.web.published_room import PublicRoomsFilter, PublicRoomsResponse, public_rooms_response
from tim_server.web.request_model import InQuery, RequestModel
from tim_server.web.route import Auth, Route

Limit = Annotated[int, Field(ge=0)] | None


class GetPublicRoomsRequest(RequestModel):
    """Which page. Without a limit, or with 0, pages are as long as the server lets them be."""

    limit: InQuery[Limit] = None
    since: InQuery[str | None] = None
    include_all_networks: InQuery[bool] = False
    third_party_instance_id: InQuery[str | None] = None


async def get_public_rooms(
    server: Homeserver, origin: ServerName, request: GetPublicRoomsRequest
) -> PublicRoomsResponse:
    """`GET /_matrix/federation/v1/publicRooms`: the rooms that the directory lists, where this server tells others.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1publicrooms
    """
    query = PublicRoomsQuery(
        limit=request.limit,
        since=request.since,
        third_party_instance_id=None if request.include_all_networks else request.third_party_instance_id,
    )
    return public_rooms_response(await server.public_rooms.page_for_server(query))


class QueryPublicRoomsRequest(RequestModel):
    """Which page, and which rooms."""

    limit: Limit = None
    since: str | None = None
    filter: PublicRoomsFilter | None = None
    include_all_networks: bool = False
    third_party_instance_id: str | None = None


async def query_public_rooms(
    server: Homeserver, origin: ServerName, request: QueryPublicRoomsRequest
) -> PublicRoomsResponse:
    """`POST /_matrix/federation/v1/publicRooms`: the rooms of the directory that fit a filter, where this server tells
    others.

    Spec: https://spec.matrix.org/v1.19/server-server-api/#post_matrixfederationv1publicrooms
    """
    wanted = request.filter or PublicRoomsFilter()
    query = PublicRoomsQuery(
        limit=request.limit,
        since=request.since,
        search_term=wanted.generic_search_term,
        room_types=wanted.room_types,
        third_party_instance_id=None if request.include_all_networks else request.third_party_instance_id,
    )
    return public_rooms_response(await server.public_rooms.page_for_server(query))


ROUTES = (
    Route("GET", "/_matrix/federation/v1/publicRooms", get_public_rooms, auth=Auth.SERVER),
    Route("POST", "/_matrix/federation/v1/publicRooms", query_public_rooms, auth=Auth.SERVER),
)
