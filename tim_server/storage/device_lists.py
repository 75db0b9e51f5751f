"""Device lists: whose devices or keys have changed, for those who share a room with them. Not derived from the event
log.

One row a user says when that was the last time, for others and for the user alone; who shares a room is asked when
somebody reads.

Spec: https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

from collections.abc import Sequence
from typing import NamedTuple

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.shared_rooms import find_sharing
from tim_server.storage.table_contract import TableContract

TABLES = (TableContract(name="device_list_changes", owner="services.devices", bound="one row a user", reaper="none"),)

DEVICE_LISTS = "device_lists"
"""The stream of facts that the devices or keys of a member have changed; the value is the member."""

# Several changes of one commit are one change, of no device alone unless they are all of the same.
MARK_CHANGED = """
INSERT INTO device_list_changes AS d (user_id, position, device_id) VALUES ($1, $2, $3)
ON CONFLICT (user_id) DO UPDATE SET
    position = $2,
    device_id = CASE WHEN d.position < $2 OR d.device_id = $3 THEN $3 END,
    previous_position = CASE WHEN d.position < $2 THEN d.position ELSE d.previous_position END
"""
LOAD_JOINED_ROOM_NIDS = "SELECT room_nid FROM memberships WHERE user_id = $1 AND membership = 'join'"


MARK_REMOTE_CHANGED = """
INSERT INTO device_list_changes (user_id, position)
SELECT DISTINCT user_id, $2::bigint FROM memberships WHERE user_id = ANY($1) AND membership = 'join'
ON CONFLICT (user_id) DO UPDATE SET position = $2
"""
LOAD_ROOMS_OF_USERS = "SELECT user_id, room_nid FROM memberships WHERE user_id = ANY($1) AND membership = 'join'"


async def mark_remote_changed(tx: Connection, user_ids: Sequence[UserId], position: int) -> list[Fact]:
    """The devices or keys of these users of another server have changed; the facts to tell the members of their rooms.
    Of users who are in no room here nothing is kept."""
    await tx.execute(MARK_REMOTE_CHANGED, user_ids, position)
    rows = await tx.fetch(LOAD_ROOMS_OF_USERS, user_ids)
    return [Fact(DEVICE_LISTS, row["room_nid"], (row["user_id"],)) for row in rows]


async def mark_changed(tx: Connection, user_id: UserId, position: int, device_id: str | None = None) -> list[Fact]:
    """The user's devices or keys have changed; the facts to tell the members of the user's rooms. `device_id`: nothing
    but this device has."""
    await tx.execute(MARK_CHANGED, user_id, position, device_id)
    rows = await tx.fetch(LOAD_JOINED_ROOM_NIDS, user_id)
    return [Fact(DEVICE_LISTS, row["room_nid"], (str(user_id),)) for row in rows]


CHANGE_POSITION = "SELECT position FROM device_list_changes WHERE user_id = $1"


async def load_change_position(tx: Connection, user_id: UserId) -> int:
    """When the user's devices or keys last changed; 0 where they never have."""
    position: int | None = await tx.fetchval(CHANGE_POSITION, user_id)
    return position or 0


MARK_CHANGED_FOR_OWNER = """
INSERT INTO device_list_changes (user_id, own_position) VALUES ($1, $2)
ON CONFLICT (user_id) DO UPDATE SET own_position = $2
"""


async def mark_changed_for_owner(tx: Connection, user_id: UserId, position: int) -> None:
    """Something has changed of which only the user is told."""
    await tx.execute(MARK_CHANGED_FOR_OWNER, user_id, position)


class ChangedUser(NamedTuple):
    """A user, when their devices or keys last changed, and when before that (0: never). `device_id`: the device that
    changed, where it was one alone, and whether it is gone."""

    user_id: UserId
    position: int
    previous_position: int = 0
    device_id: str | None = None
    is_device_gone: bool = False


LOAD_CHANGED_USERS = """
SELECT user_id, position, previous_position, device_id, device_id IS NOT NULL AND NOT EXISTS (
    SELECT FROM devices AS d WHERE d.user_id = c.user_id AND d.device_id = c.device_id
) AS is_device_gone
FROM device_list_changes AS c
WHERE position > $1 AND position <= $2 AND right(user_id, length($3)) = $3
ORDER BY position FETCH FIRST $4 ROWS WITH TIES
"""


async def load_changed_users(
    tx: Connection, server_name: ServerName, *, after: int, up_to: int, limit: int
) -> list[ChangedUser]:
    """The users of a server that have changed after one position and up to another, oldest change first; those of the
    last position all, also beyond the limit."""
    rows = await tx.fetch(LOAD_CHANGED_USERS, after, up_to, f":{server_name}", limit)
    return [
        ChangedUser(
            UserId(row["user_id"]),
            row["position"],
            previous_position=row["previous_position"],
            device_id=row["device_id"],
            is_device_gone=row["is_device_gone"],
        )
        for row in rows
    ]


FIND_CHANGED_USERS = "SELECT user_id FROM device_list_changes WHERE position > $1 AND position <= $2"

FIND_CHANGED_FOR_READER = """
SELECT user_id FROM device_list_changes
WHERE user_id = $1 AND ((position > $2 AND position <= $3) OR (own_position > $2 AND own_position <= $3))
UNION
SELECT target FROM user_signatures WHERE signer = $1 AND position > $2 AND position <= $3
"""


async def find_changed_for_reader(tx: Connection, reader: UserId, *, after: int, up_to: int) -> set[UserId]:
    """The reader, if their devices or keys have changed after one position and up to another, and those whom the reader
    has verified since."""
    return {UserId(row["user_id"]) for row in await tx.fetch(FIND_CHANGED_FOR_READER, reader, after, up_to)}


async def find_changed_users(tx: Connection, reader: UserId, *, after: int, up_to: int) -> set[UserId]:
    """As `find_changed_for_reader`, and the users who share a room with the reader whose devices or keys have
    changed."""
    changed = {UserId(row["user_id"]) for row in await tx.fetch(FIND_CHANGED_USERS, after, up_to)}
    own = await find_changed_for_reader(tx, reader, after=after, up_to=up_to)
    return own | await find_sharing(tx, reader, changed - {reader})
