"""Avatars of all users and rooms, page by page. Reads profiles and the current state of rooms; owns no table."""

from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection

PROFILE_AVATARS = """
SELECT user_id, value FROM profiles WHERE user_id > $1 AND field = 'avatar_url' ORDER BY user_id LIMIT $2
"""


async def page_of_profile_avatars(
    tx: Connection, codec: Codec, *, after: str, limit: int
) -> tuple[list[bytes], str | None]:
    """The avatars, as JSON values, of users behind one, and where the next page begins; None: there is none."""
    rows = await tx.fetch(PROFILE_AVATARS, after, limit)
    return [codec.decode(row["value"]) for row in rows], rows[-1]["user_id"] if len(rows) == limit else None


ROOM_AVATARS = """
SELECT r.nid, e.body FROM (SELECT nid FROM rooms WHERE nid > $1 ORDER BY nid LIMIT $2) AS r
LEFT JOIN current_state AS s ON s.room_nid = r.nid AND s.type = 'm.room.avatar' AND s.state_key = ''
LEFT JOIN events AS e ON e.nid = s.event_nid
ORDER BY r.nid
"""


async def page_of_room_avatars(
    tx: Connection, codec: Codec, *, after: int, limit: int
) -> tuple[list[bytes], int | None]:
    """The avatar events of rooms behind one, as JSON, and where the next page begins; None: there is none."""
    rows = await tx.fetch(ROOM_AVATARS, after, limit)
    bodies = [codec.decode(row["body"]) for row in rows if row["body"] is not None]
    return bodies, rows[-1]["nid"] if len(rows) == limit else None
