"""Messages to devices of other servers, as they leave.

Spec: https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import ServerName
from tim_server.services.to_device.queue import TO_DEVICE
from tim_server.services.transactions.edus import DIRECT_TO_DEVICE, NOBODY, Asked, Concerned, DueEdus, Edu, EduSource
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.to_device_outbox import delete_outbox, find_destinations_waiting, load_outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDeviceEdus(EduSource):
    """Messages wait until they are acknowledged, and then go; the cursor is the number of the last of them."""

    codec: Codec
    name: str = "to_device"

    def concerned(self, entry: CommitEntry) -> Concerned:
        """The servers for which messages were queued."""
        servers = [server for server, streams in entry.servers.items() if TO_DEVICE in streams]
        return Concerned(servers=servers) if servers else NOBODY

    def first_cursor(self, position: int) -> int:
        """Messages are numbered otherwise."""
        return 0

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        """What waits for the destination, oldest first."""
        found = await load_outbox(tx, self.codec, asked.destination, after=asked.cursor, limit=asked.limit + 1)
        given = found[: asked.limit]
        return DueEdus(
            edus=[Edu(edu_type=DIRECT_TO_DEVICE, content=orjson.loads(messages.edu)) for messages in given],
            cursor=given[-1].number if given else asked.cursor,
            more=len(found) > asked.limit,
        )

    async def acknowledged(self, tx: Connection, cursors: Mapping[ServerName, int]) -> None:
        """Remove what the destinations have."""
        await delete_outbox(tx, cursors)

    async def waiting(self, tx: Connection) -> Collection[ServerName]:
        """Messages, such as keys of rooms, are for now."""
        return await find_destinations_waiting(tx)
