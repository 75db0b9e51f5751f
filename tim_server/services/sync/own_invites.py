"""The invites of a user as whole events: a sync tells of them what strangers may see."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.visibility import load_histories
from tim_server.services.rooms.view import reader_of
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events
from tim_server.storage.memberships import load_rooms_of_user
from tim_server.storage.outside_memberships import load_outside


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnInvites:
    """Reads them."""

    database: Database
    codec: Codec
    client_events: ClientEvents

    async def load(self, requester: Requester, room_ids: Collection[str]) -> dict[str, dict[str, Any]]:
        """The user's member events of these rooms, by room id."""
        if not room_ids:
            return {}
        async with self.database.read() as tx:
            found = await load_rooms_of_user(tx, requester.user_id)
            rooms = {room.event_nid: room for room in found if room.room_id in room_ids}
            stored = await load_events(tx, self.codec, rooms)
            outside = await load_outside(tx, self.codec, rooms.keys() - stored.keys())
            rows = [*stored.values(), *(row.event for row in outside.values())]
            histories = await load_histories(tx, requester.user_id, [row.room_nid for row in rows])
            known = await self.client_events.load_surroundings(tx, reader_of(requester), rows, histories)
        events: dict[str, dict[str, Any]] = {}
        for row in rows:
            room = rooms[row.nid]
            event = self.client_events.event(row, room_version(room.room_version), known, room_id=room.room_id)
            events[room.room_id] = decode_lenient(event)
        return events
