"""Read one event.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomideventeventid
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import RoomVersion, room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.membership_history import Histories
from tim_server.services.events.visibility import load_histories
from tim_server.services.rooms.view import reader_of
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events_by_id
from tim_server.storage.memberships import RoomForUser, find_room_for_user
from tim_server.storage.rooms import load_room_ids


@dataclass(frozen=True, slots=True, kw_only=True)
class EventView:
    """An event that a user may see, with what they are to its room, and were."""

    row: EventRow
    room: RoomForUser
    histories: Histories

    @property
    def version(self) -> RoomVersion:
        """The version of the room."""
        return room_version(self.room.room_version)


async def view_event(
    tx: Connection, client_events: ClientEvents, requester: Requester, room_id: RoomId, event_id: EventId
) -> EventView:
    """The user's view of an event; raises `NotFound` where it is not there, or not for the user to see."""
    room = await find_room_for_user(tx, room_id, requester.user_id)
    row = (await load_events_by_id(tx, client_events.codec, [event_id])).get(event_id)
    if room is None or row is None or row.room_nid != room.room_nid:
        raise NotFound("There is no such event")
    histories = {} if room.forgotten else await load_histories(tx, requester.user_id, [row.room_nid])
    for seen in await client_events.visibility.visible(tx, requester.user_id, [row], histories):
        return EventView(row=seen, room=room, histories=histories)
    raise NotFound("There is no such event")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEvent:
    """Reads single events."""

    database: Database
    client_events: ClientEvents

    async def read_anywhere(self, requester: Requester, event_id: EventId) -> bytes:
        """As `read`, in whatever room the event is."""
        async with self.database.read() as tx:
            row = (await load_events_by_id(tx, self.client_events.codec, [event_id])).get(event_id)
            rooms = await load_room_ids(tx, [] if row is None else [row.room_nid])
        for room_id, _version in rooms.values():
            return await self.read(requester, room_id, event_id)
        raise NotFound("There is no such event")

    async def read(self, requester: Requester, room_id: RoomId, event_id: EventId) -> bytes:
        """The event as a client event; raises `NotFound` where it is not there, or not for the user to see."""
        async with self.database.read() as tx:
            view = await view_event(tx, self.client_events, requester, room_id, event_id)
            surroundings = await self.client_events.load_surroundings(
                tx, reader_of(requester), [view.row], view.histories, parents=[view.row]
            )
        return self.client_events.event(view.row, view.version, surroundings, room_id=room_id)
