"""The order of events in which each comes after those that it refers to."""

from collections.abc import Iterable, Mapping, Sequence

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId


def in_order(events: Iterable[Event]) -> list[Event]:
    """The events, each after those of its `prev_events` and `auth_events` that are among them; else as they came.

    Events that lead back to themselves, which room versions 1 and 2 can't rule out, are left out, and what is built on
    them too.
    """
    by_id = {event.event_id: event for event in events}
    references = {event_id: (*event.prev_events, *event.auth_events) for event_id, event in by_id.items()}
    return [by_id[event_id] for event_id in order_of(references)]


def order_of(references: Mapping[EventId, Sequence[EventId]]) -> list[EventId]:
    """As `in_order`, of ids alone: `references` says what each refers to, whether it is among them or not."""
    waits_for: dict[EventId, int] = {}
    referring: dict[EventId, list[EventId]] = {}
    for event_id, referred in references.items():
        within = {reference for reference in referred if reference in references}
        waits_for[event_id] = len(within)
        for reference in within:
            referring.setdefault(reference, []).append(event_id)
    ordered = [event_id for event_id, count in waits_for.items() if not count]
    for event_id in ordered:  # grows while it is walked through
        for later in referring.get(event_id, ()):
            waits_for[later] -= 1
            if not waits_for[later]:
                ordered.append(later)
    return ordered
