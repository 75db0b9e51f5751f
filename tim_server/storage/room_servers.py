"""Which servers take part in which rooms, and when they did. Reads memberships; owns no table."""

from collections.abc import Iterable, Sequence

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.database import Connection
from tim_server.storage.state import MembershipRow

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


LOAD_HISTORY_OF_SERVER = """
SELECT h.user_id, h.membership, h.event_nid, h.position
FROM memberships AS m JOIN membership_history AS h ON h.user_id = m.user_id AND h.room_nid = m.room_nid
WHERE m.room_nid = $1 AND m.server_name = $2 AND h.membership IN ('join', 'invite')
ORDER BY h.position
"""


async def load_history_of_server(tx: Connection, room_nid: int, server_name: ServerName) -> list[MembershipRow]:
    """When users of a server joined the room or were invited, oldest first."""
    return [
        MembershipRow(
            user_id=UserId(row["user_id"]),
            room_nid=room_nid,
            membership=row["membership"],
            event_nid=row["event_nid"],
            position=row["position"],
        )
        for row in await tx.fetch(LOAD_HISTORY_OF_SERVER, room_nid, server_name)
    ]


HAS_EVER_JOINED = """
SELECT EXISTS (
    SELECT FROM memberships AS m JOIN membership_history AS h ON h.user_id = m.user_id AND h.room_nid = m.room_nid
    WHERE m.room_nid = $1 AND m.server_name = $2 AND h.membership = 'join'
)
"""


async def has_ever_joined(tx: Connection, room_nid: int, server_name: ServerName) -> bool:
    """Whether anybody of the server was joined to the room at any time."""
    found: bool = await tx.fetchval(HAS_EVER_JOINED, room_nid, server_name)
    return found
