"""Room event filters applied to stored events: what the database can sort out, and what takes a look at the event."""

from collections.abc import Iterable

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.filters import RoomEventFilter
from tim_server.storage.events import EventRow
from tim_server.storage.timeline import EventPatterns

_SPECIAL = str.maketrans({"\\": "\\\\", "%": "\\%", "_": "\\_"})


def patterns_of(event_filter: RoomEventFilter) -> EventPatterns:
    """The part of a filter that the database applies: all but wildcards and `contains_url`."""
    events = event_filter.events
    types = None if events.types is None or events.types.wildcards else _like(events.types.exact)
    return EventPatterns(
        types=types,
        not_types=tuple(_like(events.not_types.exact)),
        senders=None if events.senders is None else sorted(events.senders),
        not_senders=tuple(sorted(events.not_senders)),
    )


def _like(types: Iterable[str]) -> list[str]:
    return sorted(event_type.translate(_SPECIAL) for event_type in types)


def fitting(event_filter: RoomEventFilter, rows: Iterable[EventRow]) -> list[EventRow]:
    """The events that pass the whole filter, order kept."""
    return [row for row in rows if _fits(event_filter, row)]


def _fits(event_filter: RoomEventFilter, row: EventRow) -> bool:
    has_url = event_filter.contains_url is not None and _has_url(row)
    return event_filter.allows(row.type, row.sender, has_url=has_url)


def _has_url(row: EventRow) -> bool:
    if row.redacted_by is not None:
        return False
    content = decode_lenient(row.body).get("content")
    return isinstance(content, dict) and isinstance(content.get("url"), str)
