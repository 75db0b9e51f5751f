"""Events in the format that the filter asks for.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3useruseridfilter
"""

from collections.abc import Iterable

from tim_server.matrix.canonical_json import decode_lenient, encode_relaxed
from tim_server.matrix.filters import EventFormat, Filter
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.events.client_events import ClientEvents, Surroundings
from tim_server.storage.events import EventRow


def events_as_json(
    client_events: ClientEvents,
    rows: Iterable[EventRow],
    version: RoomVersion,
    surroundings: Surroundings,
    wanted: Filter,
) -> list[bytes]:
    """The events, in the filter's `event_format` and with its `event_fields` only."""
    if wanted.event_format is EventFormat.FEDERATION:
        events = [client_events.federation_event(row, version, surroundings) for row in rows]
    else:
        events = [client_events.event(row, version, surroundings) for row in rows]
    if wanted.event_fields is None:
        return events
    return [encode_relaxed(wanted.selected_fields(decode_lenient(event))) for event in events]
