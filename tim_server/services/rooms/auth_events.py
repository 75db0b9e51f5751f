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

EVENT_BYTES = 1_500
VALUE_BYTES = 32
"""About what a parsed event takes beside its text, and each sign in it that there is one more value or key."""


@dataclass(slots=True)
class ParsedEvents:
    """A cache of parsed events, least recently used dropped first; `bytes_max` bounds what they take."""

    database: Database
    codec: Codec
    bytes_max: int = 48 * 2**20
    _events: OrderedDict[int, tuple[Event, int]] = field(default_factory=OrderedDict)
    _bytes: int = 0

    async def load(self, nids: Iterable[int], version: RoomVersion) -> dict[int, Event]:
        """The events of these nids, which must be stored; one query for those that are not remembered."""
        wanted = set(nids)
        found = {}
        for nid in wanted:
            known = self._events.get(nid)
            if known is not None:
                self._events.move_to_end(nid)
                found[nid] = known[0]
        missing = wanted - found.keys()
        if missing:
            async with self.database.connection() as connection:
                rows = await load_events(connection, self.codec, missing)
            for nid, row in rows.items():
                found[nid] = read_stored_pdu(decode_lenient(row.body), version, row.event_id)
                self.remember(nid, found[nid], row.body)
        return found

    def remember(self, nid: int, event: Event, body: bytes) -> None:
        """Keep an event that has just been made or read, with its JSON."""
        self._drop(self._events.pop(nid, None))
        size_bytes = parsed_bytes(body)
        self._events[nid] = (event, size_bytes)
        self._bytes += size_bytes
        while self._bytes > self.bytes_max:
            self._drop(self._events.popitem(last=False)[1])

    def _drop(self, known: tuple[Event, int] | None) -> None:
        if known is not None:
            self._bytes -= known[1]

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._events.clear()
        self._bytes = 0


def parsed_bytes(body: bytes) -> int:
    """About what an event with this JSON takes once parsed: many small values take far more than one long text."""
    return EVENT_BYTES + len(body) + VALUE_BYTES * sum(body.count(sign) for sign in (b",", b":", b"[", b"{"))
