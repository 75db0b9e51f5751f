"""The commit log's tail in memory: what changed since when, and who waits for it.

Each process follows `commits` and keeps the newest entries. The process's own writer appends what it committed without
reading it back; entries of other processes are read when a NOTIFY says "look" (only a hint) or the fallback poll does.
Entries are contiguous: each names the position before it, and a gap is filled from the table before anything newer.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import orjson

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.events import EventRow, load_events

ENTRIES_MAX = 10_000
BYTES_MAX = 20 * 2**20
EVENT_BYTES = 1_200
"""About what an event takes in memory beside its body."""
FACT_BYTES = 100
VALUE_BYTES = 80
"""About what a fact takes in memory, and each item of its value."""
USER_BYTES = 450
"""About what a user or server takes whose streams were touched."""
NAME_BYTES = 80
OWED_BYTES = 130
"""About what the name of a server takes that is owed events, and each such event."""
KEPT_ROWS = 10_000
"""How many rows the table keeps however old they are, for processes that start or fell behind."""

MEMBERSHIPS = "memberships"
"""The stream of users whose membership of a room changed with a state reset, perhaps without an event of theirs."""

EVENTS_PER_READ = 2_000

READ_COMMITS = "SELECT position, touched FROM commits WHERE position >= $1 ORDER BY position LIMIT $2"
READ_NEWEST = "SELECT coalesce(max(position), 0) FROM commits"
TRIM_COMMITS = """
DELETE FROM commits
WHERE committed_at < clock_timestamp() - interval '1 day'
  AND position < (SELECT min(position) FROM (SELECT position FROM commits ORDER BY position DESC LIMIT $1) AS newest)
"""


class Fact(NamedTuple):
    """Something small that happened in a room beside its events, such as a receipt. The commit's row holds it whole, so
    that no tail needs a query for it; `value` has the form that the stream's owner gives it, and holds no content."""

    stream: str
    room_nid: int
    value: tuple[str | int | None, ...]


class OwedEvent(NamedTuple):
    """An event that servers must be told of, and its place among all that they must be told of."""

    position: int
    nid: int


InRoom = TypeVar("InRoom", EventRow, Fact)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitEntry:
    """One commit: its events and facts by room, the streams touched by user, and rooms whose state changed otherwise
    than by these events (state resets), or whose timeline has a hole before them, for which readers must ask the
    database. `owed` are events that other servers
    must be told of, by who must; `servers` the streams touched by other server."""

    previous: int
    position: int
    events: Mapping[int, tuple[EventRow, ...]] = field(default_factory=dict)
    facts: Mapping[int, tuple[Fact, ...]] = field(default_factory=dict)
    users: Mapping[UserId, frozenset[str]] = field(default_factory=dict)
    resets: frozenset[int] = frozenset()
    owed: Mapping[tuple[ServerName, ...], tuple[OwedEvent, ...]] = field(default_factory=dict)
    servers: Mapping[ServerName, frozenset[str]] = field(default_factory=dict)


def encode_touched(entry: CommitEntry) -> bytes:
    """The `touched` column: event nids, facts, streams by user and server, rooms with a state reset, what is owed."""
    touched: dict[str, object] = {}
    if entry.events:
        touched["events"] = [row.nid for rows in entry.events.values() for row in rows]
    if entry.facts:
        touched["facts"] = [[*fact] for facts in entry.facts.values() for fact in facts]
    if entry.users:
        touched["users"] = {str(user): sorted(streams) for user, streams in entry.users.items()}
    if entry.resets:
        touched["resets"] = sorted(entry.resets)
    if entry.owed:
        touched["owed"] = [[names, [[*event] for event in events]] for names, events in entry.owed.items()]
    if entry.servers:
        touched["servers"] = {str(server): sorted(streams) for server, streams in entry.servers.items()}
    return orjson.dumps(touched)


class CommitLog:
    """The tail, its subscribers and its waiters; `entries_max` and `bytes_max` bound what is remembered."""

    def __init__(self, *, entries_max: int = ENTRIES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._entries_max = entries_max
        self._bytes_max = bytes_max
        self._entries: deque[CommitEntry] = deque()
        self._bytes = 0
        self._subscribers: list[Callable[[CommitEntry], None]] = []
        self._advanced: asyncio.Future[None] | None = None
        self.position = 0
        self.oldest_position = 0

    def start_at(self, position: int) -> None:
        """Begin with an empty tail at this position."""
        self._entries.clear()
        self._bytes = 0
        self.position = self.oldest_position = position
        self._wake()

    def subscribe(self, callback: Callable[[CommitEntry], None]) -> None:
        """Call back with every entry, in order, before any waiter wakes."""
        self._subscribers.append(callback)

    def append(self, entry: CommitEntry) -> bool:
        """Append the entry that follows the tail's position; False where others are missing before it."""
        if entry.previous != self.position:
            return False
        self._entries.append(entry)
        self._bytes += bytes_of(entry)
        self.position = entry.position
        self._shorten()
        for callback in self._subscribers:
            callback(entry)
        self._wake()
        return True

    def _shorten(self) -> None:
        while len(self._entries) > self._entries_max or self._bytes > self._bytes_max:
            dropped = self._entries.popleft()
            self._bytes -= bytes_of(dropped)
            self.oldest_position = dropped.position

    def forget_rooms(self, room_nids: Collection[int]) -> None:
        """Keep nothing of what happened in these rooms, which are deleted."""
        for index, entry in enumerate(self._entries):
            if not entry.events.keys().isdisjoint(room_nids):
                kept = {nid: rows for nid, rows in entry.events.items() if nid not in room_nids}
                self._entries[index] = replace(entry, events=kept)
                self._bytes += bytes_of(self._entries[index]) - bytes_of(entry)

    def _wake(self) -> None:
        if self._advanced is not None and not self._advanced.done():
            self._advanced.set_result(None)
        self._advanced = None

    @property
    def length(self) -> int:
        """How many entries are remembered."""
        return len(self._entries)

    def since(self, position: int) -> list[CommitEntry] | None:
        """The entries after `position`, oldest first; None where the tail no longer reaches back so far."""
        if position < self.oldest_position:
            return None
        newer: list[CommitEntry] = []
        for entry in reversed(self._entries):
            if entry.position <= position:
                break
            newer.append(entry)
        newer.reverse()
        return newer

    def advanced(self) -> asyncio.Future[None]:
        """A future that is done when the tail next advances; shared, so shield it when waiting with a timeout."""
        if self._advanced is None:
            self._advanced = asyncio.get_running_loop().create_future()
        return self._advanced


def bytes_of(entry: CommitEntry) -> int:
    """About what the entry takes in memory: a commit may name thousands of users, or servers."""
    events = sum(EVENT_BYTES + len(row.body) for rows in entry.events.values() for row in rows)
    facts = sum(FACT_BYTES + VALUE_BYTES * len(fact.value) for of_room in entry.facts.values() for fact in of_room)
    owed = sum(NAME_BYTES * len(names) + OWED_BYTES * len(events) for names, events in entry.owed.items())
    return events + facts + owed + USER_BYTES * (len(entry.users) + len(entry.servers))


async def read_newest_position(tx: Connection) -> int:
    """The clock as this transaction sees it."""
    position: int = await tx.fetchval(READ_NEWEST)
    return position


@dataclass(frozen=True, slots=True, kw_only=True)
class EntriesRead:
    """Entries after a position; `more`: there may be others after them. `trimmed`: the table no longer reaches back to
    the position, so that what came after it is not known."""

    entries: Sequence[CommitEntry] = ()
    more: bool = False
    trimmed: bool = False


async def read_entries(
    tx: Connection, codec: Codec, after: int, *, limit: int, events_max: int = EVENTS_PER_READ
) -> EntriesRead:
    """At most `limit` entries after a position, fewer where they have more than `events_max` events, in two queries."""
    found = await tx.fetch(READ_COMMITS, after, limit + 1)
    # Trimming takes the oldest first: nothing is missing after a row that is still there. A schema begins at 0 without
    # a row, and is not trimmed before it has more rows than are read at once.
    begins_there = bool(found) and found[0]["position"] == after
    if found and not begins_there and (after != 0 or len(found) > limit):
        return EntriesRead(trimmed=True)
    rows: list[tuple[int, dict[str, Any]]] = []
    nids: list[int] = []
    for row in found[begins_there:][:limit]:
        touched = orjson.loads(row["touched"])
        of_row = touched.get("events", ())
        if rows and len(nids) + len(of_row) > events_max:
            break
        rows.append((row["position"], touched))
        nids += of_row
    events = await load_events(tx, codec, nids)
    more = len(rows) == limit or len(rows) < len(found) - begins_there
    return EntriesRead(entries=_entries_of(after, rows, events), more=more)


def _entries_of(
    after: int, rows: Sequence[tuple[int, Mapping[str, Any]]], events: Mapping[int, EventRow]
) -> list[CommitEntry]:
    entries = []
    for position, touched in rows:
        present = (events[nid] for nid in touched.get("events", ()) if nid in events)
        entries.append(
            CommitEntry(
                previous=after,
                position=position,
                events=by_room(present),
                facts=by_room(Fact(stream, nid, tuple(value)) for stream, nid, value in touched.get("facts", ())),
                users={UserId(u): frozenset(streams) for u, streams in touched.get("users", {}).items()},
                resets=frozenset(touched.get("resets", ())),
                owed=_owed_of(touched),
                servers={ServerName(s): frozenset(streams) for s, streams in touched.get("servers", {}).items()},
            )
        )
        after = position
    return entries


def _owed_of(touched: Mapping[str, Any]) -> dict[tuple[ServerName, ...], tuple[OwedEvent, ...]]:
    return {
        tuple(map(ServerName, destinations)): tuple(OwedEvent(*event) for event in events)
        for destinations, events in touched.get("owed", ())
    }


def by_room(rows: Iterable[InRoom]) -> dict[int, tuple[InRoom, ...]]:
    """Events or facts grouped by room, order kept."""
    grouped: dict[int, list[InRoom]] = {}
    for row in rows:
        grouped.setdefault(row.room_nid, []).append(row)
    return {room_nid: tuple(of_room) for room_nid, of_room in grouped.items()}


async def trim(tx: Connection) -> None:
    """Remove commits that no tail needs any more."""
    await tx.execute(TRIM_COMMITS, KEPT_ROWS)
