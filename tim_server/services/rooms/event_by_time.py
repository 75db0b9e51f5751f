"""Find the event that is nearest to a time.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidtimestamp_to_event
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.visibility import EventVisibility
from tim_server.services.rooms.view import view_room
from tim_server.storage.database import Database
from tim_server.storage.timeline import load_nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class EventByTime:
    """Finds events by the time at which they were sent, as their servers say."""

    database: Database
    visibility: EventVisibility

    async def find(self, requester: Requester, room_id: RoomId, ts: int, *, backwards: bool) -> tuple[EventId, int]:
        """The nearest event that the user may see, at `ts` (milliseconds since the epoch) or in one direction from it,
        and its own time. Raises `Forbidden` for who was never joined, `NotFound` where there is none."""
        codec = self.visibility.codec
        async with self.database.read() as tx:
            view = await view_room(tx, codec, requester.user_id, room_id)
            spans = view.history.joined_spans
            nearest = await load_nearest(tx, codec, view.room_nid, ts, spans, backwards=backwards)
            seen = await self.visibility.visible(tx, requester.user_id, nearest, view.histories)
        if not seen:
            raise NotFound("There is no such event in this direction")
        return seen[0].event_id, seen[0].origin_server_ts
