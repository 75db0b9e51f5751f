"""Read a room's state: all of it, or one event; now, or as it was when the user left.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.client_format import content_json
from tim_server.services.rooms.view import RoomView, reader_of, state_after, view_room
from tim_server.services.turns import in_turns
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.state import SnapshotCache, load_current_state, load_current_state_of_keys, load_state_keys


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomState:
    """Reads state as clients get it."""

    database: Database
    codec: Codec
    snapshots: SnapshotCache
    client_events: ClientEvents

    async def all_events(self, requester: Requester, room_id: RoomId) -> list[bytes]:
        """All state events, as client events. Raises `Forbidden` for who was never joined."""
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            nids = await self._nids(tx, view)
            rows = sorted((await load_events(tx, self.codec, nids)).values(), key=lambda row: row.nid)
            surroundings = await self.client_events.load_surroundings(tx, reader_of(requester), rows, view.histories)
        event = self.client_events.event
        return [event(row, view.version, surroundings, room_id=room_id) async for row in in_turns(rows)]

    async def content(self, requester: Requester, room_id: RoomId, key: tuple[str, str]) -> bytes:
        """The content of the event with this (type, state key); raises `Forbidden`, or `NotFound` if not set."""
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            row = await self._row(tx, view, key)
        return content_json(row, view.version)

    async def event(self, requester: Requester, room_id: RoomId, key: tuple[str, str]) -> bytes:
        """The event with this (type, state key), as a client event. Raises what `content` raises."""
        async with self.database.read() as tx:
            view = await view_room(tx, self.codec, requester.user_id, room_id)
            row = await self._row(tx, view, key)
            surroundings = await self.client_events.load_surroundings(tx, reader_of(requester), [row], view.histories)
        return self.client_events.event(row, view.version, surroundings, room_id=room_id)

    async def _nids(self, tx: Connection, view: RoomView) -> list[int]:
        if view.left is None:
            return list((await load_current_state(tx, view.room_nid)).values())
        return list(await self._nids_when_left(tx, view.left.event_nid))

    async def _row(self, tx: Connection, view: RoomView, key: tuple[str, str]) -> EventRow:
        if view.left is None:
            found = await load_current_state_of_keys(tx, [(view.room_nid, *key)])
            nid = found.get((view.room_nid, *key))
        else:
            nid = (await load_state_keys(tx, await self._nids_when_left(tx, view.left.event_nid))).get(key)
        rows = await load_events(tx, self.codec, [] if nid is None else [nid])
        if nid not in rows:
            raise NotFound("The room has no state with this type and key")
        return rows[nid]

    async def _nids_when_left(self, tx: Connection, event_nid: int) -> frozenset[int]:
        rows = await load_events(tx, self.codec, [event_nid])
        return await state_after(tx, self.snapshots, rows[event_nid])
