"""Device lists: whose devices or keys have changed, for those who share a room with them. Not derived from the event
log.

One row a user says when that was the last time, for others and for the user alone; who shares a room is asked when
somebody reads.

Spec: https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

from tim_server.matrix.identifiers import UserId
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (TableContract(name="device_list_changes", owner="services.devices", bound="one row a user", reaper="none"),)

DEVICE_LISTS = "device_lists"
"""The stream of facts that the devices or keys of a member have changed; the value is the member."""

MARK_CHANGED = """
INSERT INTO device_list_changes (user_id, position) VALUES ($1, $2) ON CONFLICT (user_id) DO UPDATE SET position = $2
"""
LOAD_JOINED_ROOM_NIDS = "SELECT room_nid FROM memberships WHERE user_id = $1 AND membership = 'join'"


async def mark_changed(tx: Connection, user_id: UserId, position: int) -> list[Fact]:
    """The user's devices or keys have changed; the facts to tell the members of the user's rooms."""
    await tx.execute(MARK_CHANGED, user_id, position)
    rows = await tx.fetch(LOAD_JOINED_ROOM_NIDS, user_id)
    return [Fact(DEVICE_LISTS, row["room_nid"], (str(user_id),)) for row in rows]


MARK_CHANGED_FOR_OWNER = """
INSERT INTO device_list_changes (user_id, own_position) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET own_position = $2
"""


async def mark_changed_for_owner(tx: Connection, user_id: UserId, position: int) -> None:
    """Something has changed of which only the user is told."""
    await tx.execute(MARK_CHANGED_FOR_OWNER, user_id, position)


FIND_CHANGED_USERS = """
SELECT c.user_id FROM device_list_changes AS c
WHERE c.position > $2 AND c.position <= $3 AND EXISTS (
    SELECT FROM memberships AS theirs JOIN memberships AS own ON own.room_nid = theirs.room_nid
    WHERE theirs.user_id = c.user_id AND theirs.membership = 'join' AND own.user_id = $1 AND own.membership = 'join'
)
UNION
SELECT c.user_id FROM device_list_changes AS c
WHERE c.user_id = $1 AND ((c.position > $2 AND c.position <= $3) OR (c.own_position > $2 AND c.own_position <= $3))
UNION
SELECT s.target FROM user_signatures AS s WHERE s.signer = $1 AND s.position > $2 AND s.position <= $3
"""


async def find_changed_users(tx: Connection, reader: UserId, *, after: int, up_to: int) -> set[UserId]:
    """The users who share a room with the reader, and the reader, whose devices or keys have changed after one position
    and up to another; and those whom the reader has verified since."""
    rows = await tx.fetch(FIND_CHANGED_USERS, reader, after, up_to)
    return {UserId(row["user_id"]) for row in rows}
