"""Give other servers a single event.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1eventeventid
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, ServerName
from tim_server.services.events.client_format import visible_pdu
from tim_server.services.events.server_visibility import ServerVisibility
from tim_server.services.rooms.resident.admit import Admission
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events_by_id
from tim_server.storage.rooms import load_room_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class ResidentEvent:
    """Reads single events as other servers get them."""

    admission: Admission
    database: Database
    codec: Codec
    visibility: ServerVisibility

    async def pdu(self, origin: ServerName, event_id: EventId) -> bytes:
        """The event, also where it was rejected or soft-failed: whoever asks finds others that cite it. Raises
        `NotFound` where it is not here or not for the server to see, `Forbidden` for servers that never were in its
        room."""
        async with self.database.read() as tx:
            row = (await load_events_by_id(tx, self.codec, [event_id])).get(event_id)
            rooms = await load_room_ids(tx, [] if row is None else [row.room_nid])
        if row is None or row.room_nid not in rooms:
            raise NotFound("There is no such event")
        room_id, _ = rooms[row.room_nid]
        admitted = await self.admission.to_history(room_id, origin)
        async with self.database.read() as tx:
            served = await self.visibility.served(tx, admitted.asking, [row])
        if not served:
            raise NotFound("There is no such event")
        return visible_pdu(served[0], admitted.head.version)
