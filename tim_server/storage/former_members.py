"""Member events that were not received live: of the state at a join, and of history that was fetched. Reads `events`.

The memberships that such an event sets are in force at old events only, so no other table tells of them.
"""

from collections.abc import Collection, Iterable

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection

EVENTS_MAX = 1_000
"""How many events of one user, or of the users that one page is about, are thought of."""

LOAD_FORMER_MEMBERS = """
SELECT nid, body FROM events
WHERE room_nid = ANY($1) AND state_key = $2 AND type = 'm.room.member' AND (position IS NULL OR minor <> 0)
  AND rejected IS NULL
ORDER BY nid DESC LIMIT $3
"""


async def load_former_members(
    tx: Connection, codec: Codec, user_id: UserId, room_nids: Iterable[int]
) -> dict[int, bytes]:
    """Bodies of the user's member events in these rooms, by nid."""
    rows = await tx.fetch(LOAD_FORMER_MEMBERS, list(room_nids), user_id, EVENTS_MAX)
    return {row["nid"]: codec.decode(row["body"]) for row in rows}


FIND_MEMBER_EVENTS = """
(SELECT nid FROM events
 WHERE room_nid = $1 AND state_key = ANY($2) AND type = 'm.room.member' AND (position IS NULL OR minor <> 0)
 ORDER BY nid DESC LIMIT $3)
UNION
(SELECT event_nid FROM membership_history WHERE user_id = ANY($2) AND room_nid = $1 AND event_nid IS NOT NULL LIMIT $3)
"""


async def find_member_events(tx: Connection, room_nid: int, users: Collection[str]) -> set[int]:
    """Nids of the users' member events in the room, of which a state holds at most one for each."""
    return {row["nid"] for row in await tx.fetch(FIND_MEMBER_EVENTS, room_nid, list(users), EVENTS_MAX)}
