"""The query parameter `filter` of endpoints that read events: a RoomEventFilter as JSON."""

from tim_server.matrix.canonical_json import CanonicalJsonError, decode_lenient
from tim_server.matrix.errors import InvalidParam
from tim_server.matrix.filters import RoomEventFilter, parse_room_event_filter


def read_filter(text: str | None) -> RoomEventFilter:
    """The filter; one that lets everything through where there is none. Raises `InvalidParam` or `BadJson`."""
    if not text:
        return RoomEventFilter()
    try:
        definition = decode_lenient(text.encode())
    except CanonicalJsonError:
        raise InvalidParam("filter: not JSON") from None
    if not isinstance(definition, dict):
        raise InvalidParam("filter: not a JSON object")
    return parse_room_event_filter(definition)
