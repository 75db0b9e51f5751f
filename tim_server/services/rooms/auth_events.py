"""Parsed events that deciding needs: state events, remembered by nid. What a nid names never changes."""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.events.record import Event
from tim_server.matrix.room_versions import RoomVersion
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.events import load_events


@dataclass(slots=True)
class ParsedEvents:
    """A cache of parsed events, least recently used dropped first."""

    database: Database
    codec: Codec
    size_max: int = 50_000
    _events: OrderedDict[int, Event] = field(default_factory=OrderedDict)

    async def load(self, nids: Iterable[int], version: RoomVersion) -> dict[int, Event]:
        """The events of these nids, which must be stored; one query for those that are not remembered."""
        wanted = set(nids)
        found = {}
        for nid in wanted:
            event = self._events.get(nid)
            if event is not None:
                self._events.move_to_end(nid)
                found[nid] = event
        missing = wanted - found.keys()
        if missing:
            async with self.database.connection() as connection:
                rows = await load_events(connection, self.codec, missing)
            for nid, row in rows.items():
                found[nid] = read_stored_pdu(decode_lenient(row.body), version, row.event_id)
                self.remember(nid, found[nid])
        return found

    def remember(self, nid: int, event: Event) -> None:
        """Keep an event that has just been made or read."""
        self._events[nid] = event
        while len(self._events) > self.size_max:
            self._events.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._events.clear()
