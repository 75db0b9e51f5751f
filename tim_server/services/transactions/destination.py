"""A server that this one sends to, as the elected sender remembers it: what it is owed, and whether sending works."""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.edus import DueEdus
from tim_server.services.transactions.transaction import Transaction
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


@dataclass(slots=True, eq=False)
class Destination:
    """One server. `cursors` are those that it has acknowledged; unless it `is_recorded`, none of them is recorded yet.
    `asks_all`: what sources owe it is not known, so that each must be asked. `left_over` are EDUs of which it has
    others. `held`: a transaction that may have arrived. `parts` of one that it did not take, one after the other;
    `refused`: what it does not take by itself. `failures` in a row are the server's, `stumbles` our own.
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
    parts: deque[Transaction] = field(default_factory=deque)
    refused: Transaction | None = None
    failures: int = 0
    failing_since_ts: int | None = None
    stumbles: int = 0
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
            or self.parts
            or self.refused
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

    @property
    def pending(self) -> Transaction | None:
        """What is to be sent before anything else is put together. Where something was refused, it is asked first
        whether anything is taken at all."""
        if self.held is None and self.refused is not None:
            return self.refused.empty()
        return self.held or (self.parts[0] if self.parts else None)

    def take_apart(self, transaction: Transaction) -> None:
        """The server will never take the transaction as it is."""
        halves = transaction.halves()
        self.held = None
        if halves is None:
            self.refused = transaction
            return
        self._remove(transaction)
        self.parts.extendleft(reversed(halves))

    def _remove(self, transaction: Transaction) -> None:
        if self.parts and self.parts[0] is transaction:
            self.parts.popleft()

    def acknowledge(self, transaction: Transaction) -> int:
        """The server has the transaction, or will never take it; how many events wait no longer."""
        self._remove(transaction)
        self.held, self.stumbles = None, 0
        self.txn_id = self.txn_id if transaction.is_empty else transaction.txn_id
        self.cursors |= transaction.cursors
        return 0 if transaction.up_to is None else self.waiting.drop(transaction.up_to)

    def give_back(self, transaction: Transaction, *, hold: bool) -> None:
        """The server may not have the transaction: `hold` it, or put together what is owed anew when it is tried next;
        little of it is remembered until then."""
        self.held = transaction if hold else None
        if not hold:
            self.parts.clear()
            self.refused = None
            self.ask_all()
            self.waiting.forget()
