"""Servers in rooms: what the memberships of their users say of them. Reads `membership_history`, owns no table."""

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.database import Connection
from tim_server.storage.state import MembershipRow

LOAD_HISTORY_OF_SERVER = """
SELECT user_id, membership, event_nid, position FROM membership_history
WHERE room_nid = $1 AND substr(user_id, strpos(user_id, ':') + 1) = $2 AND membership IN ('join', 'invite')
ORDER BY position
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
    SELECT FROM membership_history
    WHERE room_nid = $1 AND substr(user_id, strpos(user_id, ':') + 1) = $2 AND membership = 'join'
)
"""


async def has_ever_joined(tx: Connection, room_nid: int, server_name: ServerName) -> bool:
    """Whether anybody of the server was joined to the room at any time."""
    found: bool = await tx.fetchval(HAS_EVER_JOINED, room_nid, server_name)
    return found
