"""Redact events.

Spec: https://spec.matrix.org/v1.19/client-server-api/#redactions
"""

from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import NotFound, UserSuspended
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup, RedactionTarget, TransactionKey
from tim_server.services.rooms.queue import RoomQueues
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events_by_id
from tim_server.storage.memberships import find_room_for_user

REDACTION = "m.room.redaction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Redaction:
    """Redacts one's own events, and with the power for it those of others."""

    database: Database
    codec: Codec
    queues: RoomQueues

    async def send(
        self,
        requester: Requester,
        room_id: RoomId,
        event_id: EventId,
        content: dict[str, Any],
        transaction: TransactionKey,
    ) -> EventId:
        """Redact an event of the room. `redacts` stands where the room version has it, whatever `content` says.

        Raises `NotFound` where the room has no such event, `Forbidden` without the power, `UserSuspended` for those of
        others.
        """
        async with self.database.read() as tx:
            room = await find_room_for_user(tx, room_id, requester.user_id)
            row = (await load_events_by_id(tx, self.codec, [event_id])).get(event_id)
        if room is None or row is None or row.room_nid != room.room_nid:
            raise NotFound("There is no such event in this room")
        if requester.is_suspended and row.sender != requester.user_id:
            raise UserSuspended()
        content = {key: value for key, value in content.items() if key != "redacts"}
        if room_version(room.room_version).redacts_in_content:
            content["redacts"] = event_id
        draft = Draft(
            type=REDACTION,
            sender=requester.user_id,
            content=content,
            redacts=event_id,
            target=RedactionTarget(nid=row.nid, sender=row.sender),
        )
        event_ids = await self.queues.submit(room_id, DraftGroup(drafts=(draft,), transaction=transaction))
        return event_ids[-1]
