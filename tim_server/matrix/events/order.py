"""The order of events in which each comes after those that it refers to."""

from collections.abc import Iterable

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId


def in_order(events: Iterable[Event]) -> list[Event]:
    """The events, each after those of its `prev_events` and `auth_events` that are among them; else as they came.

    Events that lead back to themselves, which room versions 1 and 2 can't rule out, are left out, and what is built on
    them too.
    """
    by_id = {event.event_id: event for event in events}
    waits_for = {event_id: _references(event) & by_id.keys() for event_id, event in by_id.items()}
    referring: dict[EventId, list[EventId]] = {}
    for event_id, references in waits_for.items():
        for reference in references:
            referring.setdefault(reference, []).append(event_id)
    left = {event_id: len(references) for event_id, references in waits_for.items()}
    ready = [event_id for event_id, count in left.items() if not count]
    ordered: list[Event] = []
    for event_id in ready:  # grows while it is walked through
        ordered.append(by_id[event_id])
        for later in referring.get(event_id, ()):
            left[later] -= 1
            if not left[later]:
                ready.append(later)
    return ordered


def _references(event: Event) -> set[EventId]:
    return {*event.prev_events, *event.auth_events}
