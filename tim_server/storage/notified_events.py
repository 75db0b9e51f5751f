"""Pages of events that users are told of, over all of their rooms, newest first. Owns no table.

Spec: https://spec.matrix.org/v1.19/client-server-api/#listing-notifications
"""

from collections.abc import Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection


class NotifiedEvent(NamedTuple):
    """An event that the user may have been told of: by its class, unless a notification gives it a `level`."""

    nid: int
    room_nid: int
    position: int
    notify_class: int
    level: int | None


FIND_NOTIFIED = """
(SELECT room_nid, position FROM notifications
 WHERE user_id = $1 AND level >= 1 AND position < $2 ORDER BY position DESC LIMIT $3)
UNION
SELECT e.room_nid, e.position FROM memberships AS m CROSS JOIN LATERAL (
    SELECT room_nid, position FROM events
    WHERE room_nid = m.room_nid AND position < $2 AND minor = 0 AND notify_class > 0 AND notify_class >= 3
    ORDER BY position DESC LIMIT $3
) AS e
WHERE m.user_id = $1 AND m.membership = 'join'
ORDER BY position DESC LIMIT $3
"""

FIND_HIGHLIGHTED = """
(SELECT room_nid, position FROM notifications
 WHERE user_id = $1 AND level >= 2 AND position < $2 ORDER BY position DESC LIMIT $3)
UNION
SELECT e.room_nid, e.position FROM memberships AS m CROSS JOIN LATERAL (
    SELECT room_nid, position FROM events
    WHERE room_nid = m.room_nid AND position < $2 AND minor = 0 AND notify_class >= 8
    ORDER BY position DESC LIMIT $3
) AS e
WHERE m.user_id = $1 AND m.membership = 'join'
ORDER BY position DESC LIMIT $3
"""

LOAD_NOTIFIED = """
SELECT coalesce(e.nid, o.event_nid), w.room_nid, w.position, coalesce(e.notify_class, 0), n.level
FROM unnest($2::bigint[], $3::bigint[]) AS w (room_nid, position)
LEFT JOIN events AS e ON e.room_nid = w.room_nid AND e.position = w.position AND e.minor = 0
LEFT JOIN outside_memberships AS o ON o.user_id = $1 AND o.room_nid = w.room_nid AND o.position = w.position
LEFT JOIN notifications AS n ON n.user_id = $1 AND n.room_nid = w.room_nid AND n.position = w.position
WHERE e.nid IS NOT NULL OR o.event_nid IS NOT NULL
ORDER BY w.position DESC
"""


async def list_notified(
    tx: Connection, user_id: UserId, *, before: int, limit: int, only_highlights: bool
) -> Sequence[NotifiedEvent]:
    """The newest `limit` events before a position of which notifications or classes may tell the user."""
    found = await tx.fetch(FIND_HIGHLIGHTED if only_highlights else FIND_NOTIFIED, user_id, before, limit)
    places = ([row["room_nid"] for row in found], [row["position"] for row in found])
    return [NotifiedEvent(*row) for row in await tx.fetch(LOAD_NOTIFIED, user_id, *places)]
