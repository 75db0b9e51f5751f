"""Tell other servers which event is nearest to a time.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1timestamp_to_eventroomid
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.services.events.server_visibility import ServerVisibility
from tim_server.services.rooms.resident.admit import Admission
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.timeline import load_nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentEventByTime:
    """Finds events by the time at which they were sent, as their servers say."""

    admission: Admission
    database: Database
    codec: Codec
    visibility: ServerVisibility

    async def find(self, origin: ServerName, room_id: RoomId, ts: int, *, backwards: bool) -> tuple[EventId, int]:
        """The event nearest to `ts` in one direction, of those that the server may see, and its own time.

        Raises `Forbidden` for servers that are not in the room; `NotFound` where there is none. Only the nearest events
        are looked at: what a server may see that may not see those, it got when it was sent.
        """
        admitted = await self.admission.to_room(room_id, origin)
        async with self.database.read() as tx:
            nearest = await load_nearest(tx, self.codec, admitted.head.nid, ts, backwards=backwards)
            hidden = await self.visibility.hidden(tx, admitted.asking, nearest)
        for row in nearest:
            if row.nid not in hidden:
                return row.event_id, row.origin_server_ts
        raise NotFound("There is no such event in this direction")
