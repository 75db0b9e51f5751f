"""Rows of events, remembered by nid. Nearly all of a row never changes; what may change comes with the mark that the
database gave for it, and a row that does not fit its mark is read again.
"""

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from tim_server.services.events.visibility import is_presentable
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_events
from tim_server.storage.sync_queries import EventMark

ROW_BYTES = 1_000
"""About what a row takes in memory beside its body."""


@dataclass(slots=True, kw_only=True)
class EventRows:
    """Remembered rows, least recently used dropped first; `bytes_max` bounds what they take."""

    codec: Codec
    bytes_max: int = 48 * 2**20
    _rows: OrderedDict[int, EventRow] = field(default_factory=OrderedDict)
    _bytes: int = 0

    async def load(self, tx: Connection, marks: Iterable[EventMark]) -> dict[int, EventRow]:
        """The rows of these marks by nid, in one query for those that are not remembered."""
        found: dict[int, EventRow] = {}
        missing: list[int] = []
        rows, touch = self._rows, self._rows.move_to_end
        for _, nid, position, redacted_by in marks:
            row = rows.get(nid)
            if row is not None and row.redacted_by == redacted_by and row.position == position:
                touch(nid)
                found[nid] = row
            else:
                missing.append(nid)
        if missing:
            loaded = await load_events(tx, self.codec, missing)
            for row in loaded.values():
                self.remember(row)
            found.update(loaded)
        return found

    def remember(self, row: EventRow) -> None:
        """Keep a row that has just been read or written."""
        before = self._rows.pop(row.nid, None)
        if before is not None:
            self._bytes -= ROW_BYTES + len(before.body)
        self._rows[row.nid] = row
        self._bytes += ROW_BYTES + len(row.body)
        while self._bytes > self.bytes_max:
            _, dropped = self._rows.popitem(last=False)
            self._bytes -= ROW_BYTES + len(dropped.body)

    def follow(self, entry: CommitEntry) -> None:
        """Keep the events of a commit: somebody is about to ask for them."""
        for rows in entry.events.values():
            for row in rows:
                if is_presentable(row):
                    self.remember(row)

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._rows.clear()
        self._bytes = 0
