"""Unread events of one user in one room, as a tally that moves on with the room. Pure.

Each unread event counts in a cell: its notify class, or the level that a notification of its own gives it. What a class
comes to is asked of the user's rules when it is counted, so that a change of rules needs no count anew.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from tim_server.matrix.identifiers import UserId
from tim_server.matrix.push_rules import DEFAULT_FORECAST, NotifyClass, NotifyLevel, RuleSet, forecast_of
from tim_server.storage.receipts import MAIN_THREAD, UNTHREADED
from tim_server.storage.unread import LEVEL_CELLS, CountedCell


class Count(NamedTuple):
    """How many unread events notify, and how many of them are highlights."""

    notify: int = 0
    highlight: int = 0

    def __add__(self, other: object) -> "Count":
        """The sum."""
        assert isinstance(other, Count)
        return Count(self.notify + other.notify, self.highlight + other.highlight)


NOTHING_UNREAD = Count()


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomCounts:
    """Counts of the main timeline, and of threads by the ids of their roots, as far as they are not zero."""

    main: Count = NOTHING_UNREAD
    threads: Mapping[str, Count] = field(default_factory=dict)

    @property
    def total(self) -> Count:
        """The counts of the whole room."""
        return sum(self.threads.values(), self.main)


ALL_READ = RoomCounts()


class CountedEvent(NamedTuple):
    """What counting asks of an event. `level`: where a notification says what it means to the user."""

    position: int
    sender: str
    thread_id: str
    notify_class: int
    level: int | None = None


@dataclass(slots=True, kw_only=True)
class Unread:
    """The tally: `read` are the positions up to which the whole room (`UNTHREADED`) and threads are read, `cells` the
    numbers of unread events by thread and cell, `newest` the position of the last one of each thread. It holds all that
    happened up to `covered`, but nothing of `ignored` users."""

    user_id: UserId
    covered: int
    ignored: frozenset[str] = frozenset()
    read: dict[str, int] = field(default_factory=dict)
    cells: dict[str, dict[int, int]] = field(default_factory=dict)
    newest: dict[str, int] = field(default_factory=dict)
    _rules: RuleSet | None = None
    _levels: Sequence[NotifyLevel] = DEFAULT_FORECAST.levels

    def add(self, event: CountedEvent) -> None:
        """Count an event, which is newer than all before. Who sends one has read its thread up to there."""
        notify_class, thread_id = event.notify_class, event.thread_id
        if notify_class == NotifyClass.NOTHING:
            return
        if event.sender == self.user_id:
            if notify_class != NotifyClass.STATE:
                self.mark_read(thread_id, event.position)
            return
        is_read = event.position <= max(self.read.get(UNTHREADED, 0), self.read.get(thread_id, 0))
        if is_read or event.sender in self.ignored:
            return
        cell = notify_class if event.level is None else LEVEL_CELLS + event.level
        cells = self.cells.setdefault(thread_id, {})
        cells[cell] = cells.get(cell, 0) + 1
        self.newest[thread_id] = event.position

    def mark_read(self, thread_id: str, position: int) -> bool:
        """Take note of how far a thread, or the room, is read; False where only a new count tells what is left."""
        if position <= self.read.get(thread_id, 0):
            return True
        self.read[thread_id] = position
        concerned = [*self.cells] if thread_id == UNTHREADED else [thread_id] if thread_id in self.cells else []
        is_certain = True
        for concerned_id in concerned:
            if self.newest[concerned_id] <= position:
                del self.cells[concerned_id], self.newest[concerned_id]
            else:
                is_certain = False
        return is_certain

    def counts(self, rules: RuleSet | None, room_id: str) -> RoomCounts:
        """The counts, with the user's rules as they are; None: the user has changed none."""
        if not self.cells:
            return ALL_READ
        if self._rules is not rules:
            self._rules, self._levels = rules, _levels_of(rules, room_id)
        counted = {thread_id: _count(cells, self._levels) for thread_id, cells in self.cells.items()}
        threads = {thread_id: count for thread_id, count in counted.items() if count != NOTHING_UNREAD}
        return RoomCounts(main=threads.pop(MAIN_THREAD, NOTHING_UNREAD), threads=threads)


def unread_of(
    user_id: UserId, covered: int, ignored: frozenset[str], read: Mapping[str, int], counted: Sequence[CountedCell]
) -> Unread:
    """The tally that the database gives."""
    unread = Unread(user_id=user_id, covered=covered, ignored=ignored, read=dict(read))
    for cell in counted:
        unread.cells.setdefault(cell.thread_id, {})[cell.cell] = cell.events
        unread.newest[cell.thread_id] = max(cell.newest, unread.newest.get(cell.thread_id, 0))
    return unread


def _levels_of(rules: RuleSet | None, room_id: str) -> Sequence[NotifyLevel]:
    return (DEFAULT_FORECAST if rules is None else forecast_of(rules, room_id)).levels


def _count(cells: Mapping[int, int], levels: Sequence[NotifyLevel]) -> Count:
    notify = highlight = 0
    for cell, events in cells.items():
        level = cell - LEVEL_CELLS if cell >= LEVEL_CELLS else levels[cell]
        notify += events * (level >= NotifyLevel.NOTIFY)
        highlight += events * (level >= NotifyLevel.HIGHLIGHT)
    return Count(notify, highlight)
