"""Events that are gathered until a gap in a room's graph is closed, or is known: those that were sent, those that were
fetched because others stand on them, and what lacks. Pure.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

from tim_server.matrix.event_auth import auth_ids
from tim_server.matrix.events.order import in_order
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId


@dataclass(slots=True, kw_only=True)
class EventPool:
    """The events by id. `known` says of others whether they are stored with the state before them; `told` are those
    after which another server has told the state; `unverified` were given by a server, but whose they are nobody can
    say; `dropped` are events that were given up, and why."""

    events: dict[EventId, Event]
    sent: frozenset[EventId]
    known: dict[EventId, bool] = field(default_factory=dict)
    told: Collection[EventId] = ()
    unverified: set[EventId] = field(default_factory=set)
    dropped: dict[EventId, str] = field(default_factory=dict)

    @classmethod
    def of(cls, sent: Iterable[Event]) -> "EventPool":
        """A pool with the events that were sent; those that lead back to themselves are dropped."""
        given = {event.event_id: event for event in sent}
        events = {event.event_id: event for event in in_order(given.values())}
        dropped = dict.fromkeys(given.keys() - events.keys(), "the event comes before itself")
        return cls(events=events, sent=frozenset(given), dropped=dropped)

    def unknown(self) -> set[EventId]:
        """Ids of `prev_events` of which it must be looked up whether they are stored."""
        named = {prev for event in self.events.values() for prev in event.prev_events}
        return named - self.events.keys() - self.known.keys()

    def lacking(self) -> set[EventId]:
        """`prev_events` that are neither here nor stored with the state before them."""
        named = {prev for event in self.events.values() for prev in event.prev_events}
        return {
            prev for prev in named if prev not in self.events and not self.known.get(prev) and prev not in self.told
        }

    def on_top_of(self, event_ids: Collection[EventId]) -> list[EventId]:
        """The events that name one of these as right before them."""
        return [e for e, event in self.events.items() if not set(event.prev_events).isdisjoint(event_ids)]

    def take(self, found: Mapping[EventId, Event]) -> int:
        """Take over those of the found events on which the others stand, directly or through each other; how many."""
        ahead, count = list(self.lacking()), 0
        while ahead:
            event = found.get(ahead.pop())
            if event is not None and event.event_id not in self.events:
                self.events[event.event_id] = event
                count += 1
                ahead += (prev for prev in event.prev_events if not self.known.get(prev))
        return count

    def drop(self, event_ids: Iterable[EventId], reason: str) -> None:
        """Give up these events, and all that stand on them or cite them."""
        ahead = [event_id for event_id in event_ids if event_id in self.events]
        while ahead:
            event_id = ahead.pop()
            if self.events.pop(event_id, None) is not None:
                self.dropped[event_id] = reason
                ahead += (e for e, event in self.events.items() if event_id in (*event.prev_events, *auth_ids(event)))

    def drop_untold(self) -> None:
        """Give up those that were sent directly before which a server does not give the events that it must have. What
        it gives counts as told also where nobody can say whose it is, as of a server that is gone, or not trusted:
        else nothing that stands on such an event could be had."""
        untold = self.lacking() - self.unverified
        self.drop(self.sent.intersection(self.on_top_of(untold)), "the server does not tell what comes before")

    @property
    def is_needed(self) -> bool:
        """Whether anything is left of what was sent."""
        return not self.sent.isdisjoint(self.events)

    def cited(self) -> set[EventId]:
        """What authorises the events, and is not among them."""
        return {auth_id for event in self.events.values() for auth_id in auth_ids(event)} - self.events.keys()

    def ordered(self) -> tuple[Event, ...]:
        """The events, each after those that it refers to; those that lead back to themselves are dropped."""
        ordered = tuple(in_order(self.events.values()))
        if len(ordered) < len(self.events):
            self.drop(self.events.keys() - {event.event_id for event in ordered}, "the event comes before itself")
        return ordered
