"""Whose device lists a user should fetch again, and whose they may forget.

Spec: https://spec.matrix.org/v1.19/client-server-api/#tracking-the-device-list-for-a-user
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.device_lists import find_changed_users
from tim_server.storage.shared_rooms import find_sharing_changes


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceListChanges:
    """`changed`: users whose keys have changed, or with whom the reader newly shares a room. `left`: users with whom
    the reader shares no room any more. In order."""

    changed: Sequence[UserId]
    left: Sequence[UserId]


async def load_device_list_changes(tx: Connection, reader: UserId, *, after: int, up_to: int) -> DeviceListChanges:
    """What happened after a position; of changes of keys only those up to another."""
    changed = await find_changed_users(tx, reader, after=after, up_to=up_to)
    sharing = await find_sharing_changes(tx, reader, after=after)
    return DeviceListChanges(changed=sorted(changed | sharing.joined), left=sorted(sharing.left - changed))


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyChanges:
    """Answers what has changed since a token."""

    database: Database

    async def since(self, reader: UserId, position: int) -> DeviceListChanges:
        """What has changed up to now. One that is told too much loses nothing, so the end is not asked for."""
        async with self.database.read() as tx:
            now = await read_newest_position(tx)
            return await load_device_list_changes(tx, reader, after=min(position, now), up_to=now)
