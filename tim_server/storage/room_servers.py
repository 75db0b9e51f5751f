"""Which servers take part in which rooms, and when they did. Reads memberships; owns no table."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import RoomId, ServerName, UserId
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


FIND_ROOM_IDS_WITH = """
SELECT r.room_id FROM rooms AS r
WHERE r.room_id = ANY($2) AND (
    SELECT true FROM memberships AS s
    WHERE s.server_name = $1 AND s.room_nid = r.nid AND s.membership = 'join' LIMIT 1
)
"""


async def find_room_ids_with(tx: Connection, server_name: ServerName, room_ids: Sequence[RoomId]) -> set[RoomId]:
    """As `find_rooms_with`, of rooms by their ids, which need not be known."""
    return {RoomId(row["room_id"]) for row in await tx.fetch(FIND_ROOM_IDS_WITH, server_name, list(room_ids))}


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


COUNT_SERVERS_OF_ROOMS = """
SELECT room_nid, server_name, count(*) AS joined FROM memberships
WHERE room_nid = ANY($1) AND membership = 'join' GROUP BY room_nid, server_name
"""


async def count_servers_of_rooms(tx: Connection, room_nids: Iterable[int]) -> dict[int, dict[ServerName, int]]:
    """How many joined users each server has in each of these rooms; reads all their members."""
    servers: dict[int, dict[ServerName, int]] = {room_nid: {} for room_nid in room_nids}
    for row in await tx.fetch(COUNT_SERVERS_OF_ROOMS, list(servers)):
        servers[row["room_nid"]][ServerName(row["server_name"])] = row["joined"]
    return servers


# Jumps along the index from one server to the next.
FIND_SERVERS = """
WITH RECURSIVE found AS (
    (SELECT server_name FROM memberships WHERE membership = 'join' ORDER BY server_name LIMIT 1)
    UNION ALL
    SELECT (SELECT m.server_name FROM memberships AS m
            WHERE m.server_name > found.server_name AND m.membership = 'join' ORDER BY m.server_name LIMIT 1)
    FROM found WHERE found.server_name IS NOT NULL
)
SELECT server_name FROM found WHERE server_name IS NOT NULL LIMIT $1
"""


async def find_servers(tx: Connection, *, limit: int) -> list[ServerName]:
    """The servers that have a joined user in any room, this one too."""
    return [ServerName(row["server_name"]) for row in await tx.fetch(FIND_SERVERS, limit)]


FIND_ROOMS_OF_SERVER = "SELECT DISTINCT room_nid FROM memberships WHERE server_name = $1 AND membership = 'join'"


async def find_rooms_of_server(tx: Connection, server_name: ServerName) -> list[int]:
    """The rooms in which the server has a joined user."""
    return [row["room_nid"] for row in await tx.fetch(FIND_ROOMS_OF_SERVER, server_name)]


class JoinedMember(NamedTuple):
    """Somebody who is joined to a room, and the room's access control list, if it has one."""

    room_nid: int
    room_id: RoomId
    room_version: str
    user_id: UserId
    acl_nid: int | None


FIND_JOINED = """
SELECT r.nid, r.room_id, r.room_version, m.user_id, acl.event_nid
FROM unnest($1::text[], $2::text[]) AS wanted (room_id, user_id)
JOIN rooms AS r ON r.room_id = wanted.room_id
JOIN memberships AS m ON m.user_id = wanted.user_id AND m.room_nid = r.nid AND m.membership = 'join'
LEFT JOIN current_state AS acl ON acl.room_nid = r.nid AND acl.type = 'm.room.server_acl' AND acl.state_key = ''
"""


async def find_joined(tx: Connection, wanted: Sequence[tuple[RoomId, UserId]]) -> list[JoinedMember]:
    """Those of these users who are joined to these rooms."""
    rows = await tx.fetch(FIND_JOINED, [room_id for room_id, _ in wanted], [user_id for _, user_id in wanted])
    return [JoinedMember(row[0], RoomId(row[1]), row[2], UserId(row[3]), row[4]) for row in rows]


class AccessList(NamedTuple):
    """A room's id, and the event that is its access control list, if it has one."""

    room_id: RoomId
    event_nid: int | None


LOAD_ACCESS_LISTS = """
SELECT r.nid, r.room_id, acl.event_nid FROM rooms AS r
LEFT JOIN current_state AS acl ON acl.room_nid = r.nid AND acl.type = 'm.room.server_acl' AND acl.state_key = ''
WHERE r.nid = ANY($1)
"""


async def load_access_lists(tx: Connection, room_nids: Collection[int]) -> dict[int, AccessList]:
    """The access control lists of these rooms, by nid."""
    rows = await tx.fetch(LOAD_ACCESS_LISTS, list(room_nids))
    return {row["nid"]: AccessList(RoomId(row["room_id"]), row["event_nid"]) for row in rows}


FIND_JOINED_ANYWHERE = """
SELECT wanted.user_id FROM unnest($1::text[]) AS wanted (user_id)
WHERE (SELECT true FROM memberships AS m WHERE m.user_id = wanted.user_id AND m.membership = 'join' LIMIT 1)
"""


async def find_joined_anywhere(tx: Connection, user_ids: Iterable[UserId]) -> list[UserId]:
    """Those of the users who are joined to any room."""
    return [UserId(row["user_id"]) for row in await tx.fetch(FIND_JOINED_ANYWHERE, list(user_ids))]


IS_SHARED_WITH_OTHERS = """
SELECT EXISTS (SELECT FROM memberships WHERE room_nid = $1 AND membership = 'join' AND server_name = $2)
   AND EXISTS (SELECT FROM memberships WHERE room_nid = $1 AND membership = 'join' AND server_name <> $2)
"""


async def is_shared_with_others(tx: Connection, room_nid: int, server_name: ServerName) -> bool:
    """Whether users of this server and of another are joined to the room: its servers tell nobody else about it."""
    is_shared: bool = await tx.fetchval(IS_SHARED_WITH_OTHERS, room_nid, server_name)
    return is_shared
