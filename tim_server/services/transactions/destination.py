"""A server that this one sends to, as the elected sender remembers it: what it is owed, and whether sending works."""

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.backoff import Problem
from tim_server.services.transactions.edus import DueEdus
from tim_server.services.transactions.receive import PDUS_MAX
from tim_server.storage.commit_log import OwedEvent
from tim_server.storage.destinations import DestinationRow

EVENTS_REMEMBERED_MAX = 500
"""How many events that wait for a server are remembered; others are read from the outbox when they are next."""
ROOMS_TOUCHED_MAX = 1_000
"""In how many rooms something may have happened before it counts as not known where."""


@dataclass(slots=True)
class WaitingEvents:
    """The outbox of one server, as far as it is remembered: all that there is up to `newest`, and, unless it is behind,
    all that there is."""

    events: deque[OwedEvent] = field(default_factory=deque)
    newest: int = 0
    is_behind: bool = False
    _has_missed: bool = False
    _read_after: int = 0

    def append(self, events: Sequence[OwedEvent]) -> None:
        """These were committed. Commits are told in order, but those of other processes late."""
        for event in events:
            if self.is_behind or len(self.events) >= EVENTS_REMEMBERED_MAX:
                self.is_behind = self._has_missed = True
                return
            if event.position > self.newest:
                self.events.append(event)
                self.newest = event.position

    def begin_read(self) -> None:
        """What comes after `newest` is about to be read."""
        self._has_missed, self._read_after = False, self.newest

    def end_read(self, read: Sequence[OwedEvent], *, is_all: bool) -> None:
        """It was read; `is_all` unless there may be more. What was committed meanwhile may not be among it. Where what
        comes before it was forgotten meanwhile, all is read again."""
        if self.newest != self._read_after:
            return
        self.events.extend(read)
        if read:
            self.newest = read[-1].position
        self.is_behind = not is_all or self._has_missed

    def first(self, count: int) -> list[OwedEvent]:
        """The oldest."""
        return list(islice(self.events, count))

    def drop(self, up_to: int) -> int:
        """The server has these; how many they are."""
        count = len(self.events)
        while self.events and self.events[0].position <= up_to:
            self.events.popleft()
        self.newest = max(self.newest, up_to)
        return count - len(self.events)

    def forget(self) -> None:
        """Remember none; they are read when they are next."""
        if self.events:
            self.newest = self.events[0].position - 1
            self.events.clear()
        self.is_behind = True


@dataclass(slots=True)
class Touched:
    """That a source of EDUs may owe something since a position: in these rooms, and everything in those of `whole`.
    `rooms` None: it is not known where, nor since when."""

    since: int = 0
    rooms: set[int] | None = None
    whole: set[int] = field(default_factory=set)

    def merge(self, other: "Touched") -> None:
        """Both may be so."""
        self.since = min(self.since, other.since)
        self.rooms = None if self.rooms is None or other.rooms is None else self.rooms | other.rooms
        self.whole |= other.whole


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """A transaction put together: its id and canonical JSON. `up_to`: the position of its last event, where it has any;
    `cursors` of sources once it is acknowledged."""

    txn_id: str
    body: bytes
    up_to: int | None
    events: int
    edus: int
    cursors: Mapping[str, int]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to send: the events are gone, and sources had nothing, which need not be asked for
        again."""
        return not self.events and not self.edus


@dataclass(slots=True, eq=False)
class Destination:
    """One server. `cursors` are those that it has acknowledged; unless it `is_recorded`, none of them is recorded yet.
    `asks_all`: what sources owe it is not known, so that each must be asked. `left_over` are EDUs of which it has
    others. `held`: a transaction that may have arrived. `failures` in a row are the server's, `stumbles` our own.
    `is_slow`: until it has shown that it is not. `behind_since` is a time of the event loop."""

    name: ServerName
    cursors: dict[str, int] = field(default_factory=dict)
    txn_id: str = ""
    is_recorded: bool = False
    asks_all: bool = False
    waiting: WaitingEvents = field(default_factory=WaitingEvents)
    touched: dict[str, Touched] = field(default_factory=dict)
    left_over: dict[str, tuple[DueEdus, Touched]] = field(default_factory=dict)
    held: Transaction | None = None
    failures: int = 0
    failing_since_ts: int | None = None
    stumbles: int = 0
    pdus_max: int = PDUS_MAX
    is_slow: bool = True
    behind_since: float | None = None
    tried_at: float = float("-inf")
    retry: asyncio.TimerHandle | None = None
    task: "asyncio.Task[None] | None" = None

    @classmethod
    def of(cls, row: DestinationRow) -> "Destination":
        """A server as it was left, by this process or by another."""
        return cls(
            name=row.destination,
            cursors=dict(row.cursors),
            txn_id=row.txn_id or "",
            failures=row.failures,
            failing_since_ts=row.failing_since_ts,
            is_recorded=True,
            is_slow=row.succeeded_ts is None,
        )

    @property
    def is_owed(self) -> bool:
        """Whether there is, or may be, anything to send."""
        return bool(
            self.held
            or self.waiting.events
            or self.waiting.is_behind
            or self.asks_all
            or self.touched
            or self.left_over
        )

    @property
    def waits_among_slow(self) -> bool:
        """Whether it must wait for a place among servers that may not answer soon."""
        return self.is_slow or self.failures > 0

    def touch(self, source: str, since: int, *, room: int | None = None, whole: bool = False) -> None:
        """A source may owe it something, perhaps in a room."""
        if self.asks_all:
            return
        touched = self.touched.get(source)
        if touched is None:
            touched = self.touched[source] = Touched(since, set())
        touched.since = min(touched.since, since)
        if room is None or touched.rooms is None:
            return
        (touched.whole if whole else touched.rooms).add(room)
        if len(touched.rooms) + len(touched.whole) > ROOMS_TOUCHED_MAX:
            touched.rooms = None

    def put_back(self, source: str, touched: Touched) -> None:
        """A source was not asked for everything that it may owe."""
        if source in self.touched:
            touched.merge(self.touched[source])
        self.touched[source] = touched

    def ask_all(self) -> None:
        """What sources owe is not known any more, or not worth remembering."""
        self.asks_all = True
        self.touched.clear()
        self.left_over.clear()

    def acknowledge(self, transaction: Transaction) -> int:
        """The server has the transaction; how many events wait no longer."""
        self.held, self.pdus_max, self.stumbles = None, PDUS_MAX, 0
        self.txn_id = self.txn_id if transaction.is_empty else transaction.txn_id
        self.cursors |= transaction.cursors
        return 0 if transaction.up_to is None else self.waiting.drop(transaction.up_to)

    def give_back(self, transaction: Transaction, problem: Problem, *, hold: bool) -> None:
        """The server may not have the transaction: `hold` it, or put together what is owed anew when it is tried next;
        little of it is remembered until then."""
        self.held = transaction if hold else None
        if not hold:
            self.ask_all()
            self.waiting.forget()
        if problem.is_too_large:
            self.pdus_max = max(transaction.events // 2, 1)
