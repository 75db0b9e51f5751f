"""Read one event.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.visibility import load_histories
from tim_server.services.rooms.view import reader_of
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events_by_id
from tim_server.storage.memberships import find_room_for_user


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEvent:
    """Reads single events."""

    database: Database
    codec: Codec
    client_events: ClientEvents

    async def read(self, requester: Requester, room_id: RoomId, event_id: EventId) -> bytes:
        """The event as a client event; raises `NotFound` where it is not there, or not for the user to see."""
        async with self.database.read() as tx:
            room = await find_room_for_user(tx, room_id, requester.user_id)
            row = (await load_events_by_id(tx, self.codec, [event_id])).get(event_id)
            if room is None or row is None or row.room_nid != room.room_nid:
                raise NotFound("There is no such event")
            histories = {} if room.forgotten else await load_histories(tx, requester.user_id, [row.room_nid])
            seen = await self.client_events.visibility.visible(tx, requester.user_id, [row], histories)
            if not seen:
                raise NotFound("There is no such event")
            surroundings = await self.client_events.load_surroundings(tx, reader_of(requester), seen, histories)
        return self.client_events.event(row, room_version(room.room_version), surroundings, room_id=room_id)
