"""Notifications: what an event means to those users of whom its notify class does not tell all. A row overrides what
the class says; who has none is told what their rules make of the class.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.push_rules import NotifyLevel
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="notifications",
        owner="storage.room_commits",
        bound="one row an event and user whom it names, or whose rules differ from the server's",
        reaper="storage.notifications.reap once read; erasure of the account, room purge",
    ),
)

NOTIFICATIONS = "notifications"
"""The commit log's stream of facts for notifications."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewNotification:
    """What the event of this index in the commit means to a user."""

    event_index: int
    event_nid: int
    user_id: UserId
    level: NotifyLevel

    def as_fact(self, room_nid: int) -> Fact:
        """The notification as the commit log's tail holds it."""
        return Fact(NOTIFICATIONS, room_nid, (self.user_id, self.event_nid, int(self.level)))


INSERT_NOTIFICATIONS = """
INSERT INTO notifications (user_id, room_nid, position, level)
SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::smallint[])
"""


async def insert_notifications(tx: Connection, rows: Iterable[tuple[NewNotification, int, int]]) -> None:
    """Keep notifications with the room and the position of their events."""
    new: Sequence[tuple[NewNotification, int, int]] = list(rows)
    await tx.execute(
        INSERT_NOTIFICATIONS,
        [notification.user_id for notification, _, _ in new],
        [room_nid for _, room_nid, _ in new],
        [position for _, _, position in new],
        [notification.level for notification, _, _ in new],
    )


INSERT_NOTIFICATION = "INSERT INTO notifications (user_id, room_nid, position, level) VALUES ($1, $2, $3, $4)"


async def insert_notification(
    tx: Connection, user_id: UserId, room_nid: int, position: int, level: NotifyLevel
) -> None:
    """Keep the notification of an event that is no part of a room's timeline: an invite into a room elsewhere."""
    await tx.execute(INSERT_NOTIFICATION, user_id, room_nid, position, level)


DELETE_OF_USER = "DELETE FROM notifications WHERE user_id = $1"


async def delete_notifications(tx: Connection, user_id: UserId) -> None:
    """Remove all that a user was told of."""
    await tx.execute(DELETE_OF_USER, user_id)


REAPED_AT_ONCE = 10_000

REAP = """
DELETE FROM notifications WHERE ctid = ANY (ARRAY (
    SELECT n.ctid FROM notifications AS n
    WHERE n.created_at < clock_timestamp() - interval '7 days' AND EXISTS (
        SELECT FROM receipts AS r JOIN events AS e ON e.room_nid = r.room_nid
        WHERE r.room_nid = n.room_nid AND r.user_id = n.user_id AND r.event_position >= n.position
          AND r.receipt_type IN ('m.read', 'm.read.private') AND r.thread_id IN ('', coalesce(e.thread_id, 'main'))
          AND e.position = n.position AND e.minor = 0
    ) OR n.created_at < clock_timestamp() - interval '180 days'
    LIMIT $1
))
"""


async def reap(tx: Connection) -> None:
    """Remove what was read a week ago or earlier, and what nobody has read in half a year."""
    await tx.execute(REAP, REAPED_AT_ONCE)
