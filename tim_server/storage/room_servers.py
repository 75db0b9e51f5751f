"""Which servers take part in which rooms. Reads memberships; owns no table."""

from collections.abc import Iterable, Sequence

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.database import Connection

# The subqueries give one value each, which keeps the planner from joining whole tables.

FIND_SHARING = """
SELECT wanted.user_id FROM unnest($2::text[]) AS wanted (user_id)
WHERE EXISTS (
    SELECT FROM memberships AS m
    WHERE m.user_id = wanted.user_id AND m.membership = 'join' AND (
        SELECT true FROM memberships AS s
        WHERE s.server_name = $1 AND s.room_nid = m.room_nid AND s.membership = 'join' LIMIT 1
    )
)
"""


async def find_users_sharing_with(tx: Connection, server_name: ServerName, user_ids: Iterable[UserId]) -> set[UserId]:
    """Those of the users who are in a room with a user of the server."""
    return {UserId(row["user_id"]) for row in await tx.fetch(FIND_SHARING, server_name, list(user_ids))}


FIND_ROOMS_WITH = """
SELECT wanted.room_nid FROM unnest($2::bigint[]) AS wanted (room_nid)
WHERE (
    SELECT true FROM memberships AS s
    WHERE s.server_name = $1 AND s.room_nid = wanted.room_nid AND s.membership = 'join' LIMIT 1
)
"""


async def find_rooms_with(tx: Connection, server_name: ServerName, room_nids: Sequence[int]) -> set[int]:
    """Those of the rooms in which the server has a joined user."""
    return {row["room_nid"] for row in await tx.fetch(FIND_ROOMS_WITH, server_name, room_nids)}


LOAD_SERVERS_OF_ROOMS = """
SELECT DISTINCT room_nid, server_name FROM memberships WHERE room_nid = ANY($1) AND membership = 'join'
"""


async def load_servers_of_rooms(tx: Connection, room_nids: Iterable[int]) -> dict[int, set[ServerName]]:
    """The servers with a joined user in each of these rooms; reads all their members."""
    servers: dict[int, set[ServerName]] = {}
    for row in await tx.fetch(LOAD_SERVERS_OF_ROOMS, list(room_nids)):
        servers.setdefault(row["room_nid"], set()).add(ServerName(row["server_name"]))
    return servers
