"""Messages to devices of other servers, as they leave.

Spec: https://spec.matrix.org/v1.19/server-server-api/#send-to-device-messaging
"""

from dataclasses import dataclass

import orjson

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.edus import DueEdus, Edu
from tim_server.storage.database import Connection
from tim_server.storage.store import Store
from tim_server.storage.to_device_outbox import delete_outbox, load_outbox


@dataclass(frozen=True, slots=True, kw_only=True)
class _DueMessages(DueEdus):
    """`last` numbers the last of them."""

    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ToDeviceEdus:
    """An `EduSource` that needs no cursor: messages wait until they are acknowledged, and then go."""

    store: Store
    name: str = "to_device"

    async def due(self, tx: Connection, destination: ServerName, *, after: int, up_to: int, limit: int) -> DueEdus:
        """What waits for the destination, oldest first."""
        found = await load_outbox(tx, self.store.codec, destination, limit=limit + 1)
        given = found[:limit]
        return _DueMessages(
            edus=[Edu(edu_type="m.direct_to_device", content=orjson.loads(messages.edu)) for messages in given],
            cursor=up_to,
            more=len(found) > limit,
            last=given[-1].number if given else 0,
        )

    async def acknowledge(self, destination: ServerName, due: DueEdus) -> None:
        """Remove what the destination has."""
        if isinstance(due, _DueMessages) and due.edus:
            async with self.store.database.transaction() as tx:
                await delete_outbox(tx, destination, due.last)
