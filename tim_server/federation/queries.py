"""What other servers are asked about their users, aliases and public rooms.

Spec: https://spec.matrix.org/v1.19/server-server-api/#querying-for-information
"""

from typing import Any

from tim_server.federation.client import FederationClient, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.identifiers import InvalidIdentifier, RoomAlias, RoomId, ServerName, UserId

SERVERS_MAX = 50
"""How many of the servers that are said to be in a room are kept."""
BOUNDS = RequestBounds(timeout_s=15.0, size_bytes_max=2 * 2**20, can_do_without=True)
ALIAS_BOUNDS = RequestBounds(timeout_s=15.0, size_bytes_max=2**16)


async def query_profile(client: FederationClient, user_id: UserId) -> dict[str, Any]:
    """All fields of the profile of a user, as their server gives them; raises what the client raises."""
    query = {"user_id": str(user_id)}
    return await client.get(user_id.server_name, "/_matrix/federation/v1/query/profile", query, bounds=BOUNDS)


async def query_directory(client: FederationClient, alias: RoomAlias) -> tuple[RoomId, list[ServerName]]:
    """The room that an alias points to, and servers in it; raises what the client raises."""
    query = {"room_alias": str(alias)}
    answer = await client.get(alias.server_name, "/_matrix/federation/v1/query/directory", query, bounds=ALIAS_BOUNDS)
    servers = answer.get("servers")
    try:
        room_id = RoomId.parse(answer["room_id"])
    except (InvalidIdentifier, KeyError, AttributeError, TypeError):
        raise RemoteError.malformed(alias.server_name, "room_id is missing or none") from None
    named = servers[:SERVERS_MAX] if isinstance(servers, list) else []
    return room_id, [name for value in named if (name := _server_name(value)) is not None]


async def query_public_rooms(client: FederationClient, server_name: ServerName, body: dict[str, Any]) -> dict[str, Any]:
    """A page of the server's public directory; raises what the client raises."""
    return await client.post(server_name, "/_matrix/federation/v1/publicRooms", body, bounds=BOUNDS)


async def query_hierarchy(
    client: FederationClient, server_name: ServerName, room_id: RoomId, *, suggested_only: bool
) -> dict[str, Any]:
    """A space and its children; raises what the client raises."""
    path = path_of("/_matrix/federation/v1/hierarchy/{}", room_id)
    query = {"suggested_only": "true" if suggested_only else "false"}
    return await client.get(server_name, path, query, bounds=BOUNDS)


def _server_name(value: Any) -> ServerName | None:
    try:
        return ServerName.parse(value)
    except (InvalidIdentifier, TypeError):
        return None
