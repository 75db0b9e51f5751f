"""Filters: which events, rooms and fields a client wants to be told of.

Spec: https://spec.matrix.org/v1.19/client-server-api/#filtering
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

from tim_server.matrix.errors import BadJson, InvalidParam
from tim_server.matrix.globs import PATTERN_LENGTH_MAX, Glob, star_glob
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, UserId
from tim_server.matrix.property_paths import PropertyPath, only_properties, parse_property_path

WILDCARDS_MAX = 100
"""Patterns in one list of types: each event is held against all of them."""
EVENT_FIELDS_MAX = 200


class EventFormat(Enum):
    """`event_format`: the format to use for events."""

    CLIENT = "client"
    FEDERATION = "federation"


@dataclass(frozen=True, slots=True, kw_only=True)
class EventTypes:
    """A list of event types, in which `*` matches any sequence of characters."""

    exact: frozenset[str]
    wildcards: tuple[Glob, ...]

    def __contains__(self, event_type: str) -> bool:
        return event_type in self.exact or any(glob.matches(event_type) for glob in self.wildcards)

    @property
    def names_nothing(self) -> bool:
        """Whether the list is empty."""
        return not self.exact and not self.wildcards


_NO_TYPES = EventTypes(exact=frozenset(), wildcards=())


@dataclass(frozen=True, slots=True, kw_only=True)
class EventFilter:
    """Which events of any kind to include. An absent list (None) includes everything, an empty list nothing."""

    limit: int | None = None
    types: EventTypes | None = None
    not_types: EventTypes = _NO_TYPES
    senders: frozenset[str] | None = None
    not_senders: frozenset[str] = frozenset()

    def allows(self, event_type: str, sender: str | None = None) -> bool:
        """Whether an event of this type and sender is included; `not_types` and `not_senders` take precedence.

        `sender` is None for what has none, such as account data and typing; a list of `senders` then excludes it.
        """
        if event_type in self.not_types or (self.types is not None and event_type not in self.types):
            return False
        return sender not in self.not_senders and (self.senders is None or sender in self.senders)

    def limit_within(self, default: int, maximum: int) -> int:
        """How many events to return: the filter's limit or else `default`, at most `maximum`.

        0, which the specification leaves no room for, means none: clients say so to get no timeline.
        """
        return min(default if self.limit is None else self.limit, maximum)

    @property
    def allows_everything(self) -> bool:
        """Whether the filter excludes no event, so that none needs to be looked at."""
        return self.types is None and self.senders is None and not self.not_senders and self.not_types.names_nothing

    @property
    def allows_nothing(self) -> bool:
        """Whether the filter excludes every event, so that none needs to be looked up."""
        return self.senders == frozenset() or (self.types is not None and self.types.names_nothing)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEventFilter:
    """Which events in rooms to include, and how. State, ephemeral events and account data of rooms use it too."""

    events: EventFilter = EventFilter()
    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    contains_url: bool | None = None
    lazy_load_members: bool = False
    include_redundant_members: bool = False
    unread_thread_notifications: bool = False

    def allows(self, event_type: str, sender: str | None = None, *, has_url: bool = False) -> bool:
        """Whether an event is included in a room that `allows_room` includes; `has_url`: its content has a `url`."""
        if self.contains_url is not None and self.contains_url is not has_url:
            return False
        return self.events.allows(event_type, sender)

    def allows_room(self, room_id: str) -> bool:
        """Whether events of this room are included; `not_rooms` takes precedence."""
        return _is_listed(room_id, self.rooms, self.not_rooms)

    @property
    def sends_redundant_members(self) -> bool:
        """`include_redundant_members`, which does not apply unless `lazy_load_members` is true."""
        return self.lazy_load_members and self.include_redundant_members


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomFilter:
    """Which rooms to include, and what of them."""

    rooms: frozenset[str] | None = None
    not_rooms: frozenset[str] = frozenset()
    include_leave: bool = False
    state: RoomEventFilter = RoomEventFilter()
    timeline: RoomEventFilter = RoomEventFilter()
    ephemeral: RoomEventFilter = RoomEventFilter()
    account_data: RoomEventFilter = RoomEventFilter()

    def allows_room(self, room_id: str) -> bool:
        """Whether this room is included; applies before the filters of `state`, `timeline` and so on."""
        return _is_listed(room_id, self.rooms, self.not_rooms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """A whole filter, as clients upload it or give it to `/sync`."""

    event_fields: tuple[PropertyPath, ...] | None = None
    event_format: EventFormat = EventFormat.CLIENT
    presence: EventFilter = EventFilter()
    account_data: EventFilter = EventFilter()
    room: RoomFilter = RoomFilter()

    def selected_fields(self, event: Mapping[str, Any]) -> Mapping[str, Any]:
        """The event with only the fields that `event_fields` lists; unchanged where the list is absent."""
        return event if self.event_fields is None else only_properties(event, self.event_fields)


def parse_filter(definition: Mapping[str, Any]) -> Filter:
    """The filter of a definition; unknown keys are ignored.

    Raises `BadJson` where a value has a wrong type, `InvalidParam` where it has a wrong value.
    """
    fields = _strings(definition, "event_fields")
    if fields is not None and len(fields) > EVENT_FIELDS_MAX:
        raise InvalidParam(f"event_fields: at most {EVENT_FIELDS_MAX} fields")
    return Filter(
        event_fields=None if fields is None else tuple(parse_property_path(field) for field in fields),
        event_format=_event_format(definition),
        presence=parse_event_filter(_object(definition, "presence")),
        account_data=parse_event_filter(_object(definition, "account_data")),
        room=_parse_room_filter(_object(definition, "room")),
    )


def parse_event_filter(definition: Mapping[str, Any]) -> EventFilter:
    """The event filter of a definition; raises like `parse_filter`."""
    return EventFilter(
        limit=_limit(definition),
        types=_event_types(definition, "types"),
        not_types=_event_types(definition, "not_types") or _NO_TYPES,
        senders=_identifiers(definition, "senders", UserId.parse),
        not_senders=_identifiers(definition, "not_senders", UserId.parse) or frozenset(),
    )


def parse_room_event_filter(definition: Mapping[str, Any]) -> RoomEventFilter:
    """The room event filter of a definition, as `/messages` and `/context` take it; raises like `parse_filter`."""
    return RoomEventFilter(
        events=parse_event_filter(definition),
        rooms=_identifiers(definition, "rooms", RoomId.parse),
        not_rooms=_identifiers(definition, "not_rooms", RoomId.parse) or frozenset(),
        contains_url=_boolean(definition, "contains_url"),
        lazy_load_members=_boolean(definition, "lazy_load_members") or False,
        include_redundant_members=_boolean(definition, "include_redundant_members") or False,
        unread_thread_notifications=_boolean(definition, "unread_thread_notifications") or False,
    )


def _parse_room_filter(definition: Mapping[str, Any]) -> RoomFilter:
    return RoomFilter(
        rooms=_identifiers(definition, "rooms", RoomId.parse),
        not_rooms=_identifiers(definition, "not_rooms", RoomId.parse) or frozenset(),
        include_leave=_boolean(definition, "include_leave") or False,
        state=parse_room_event_filter(_object(definition, "state")),
        timeline=parse_room_event_filter(_object(definition, "timeline")),
        ephemeral=parse_room_event_filter(_object(definition, "ephemeral")),
        account_data=parse_room_event_filter(_object(definition, "account_data")),
    )


def _is_listed(room_id: str, rooms: frozenset[str] | None, not_rooms: frozenset[str]) -> bool:
    return room_id not in not_rooms and (rooms is None or room_id in rooms)


def _event_types(definition: Mapping[str, Any], key: str) -> EventTypes | None:
    types = _strings(definition, key)
    if types is None:
        return None
    if any(len(event_type) > PATTERN_LENGTH_MAX for event_type in types):
        raise InvalidParam(f"{key}: an event type has at most {PATTERN_LENGTH_MAX} characters")
    wildcards = {event_type for event_type in types if "*" in event_type}
    if len(wildcards) > WILDCARDS_MAX:
        raise InvalidParam(f"{key}: at most {WILDCARDS_MAX} types with wildcards")
    return EventTypes(
        exact=frozenset(types) - wildcards, wildcards=tuple(star_glob(pattern) for pattern in sorted(wildcards))
    )


def _object(definition: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = definition.get(key, {})
    if not isinstance(value, Mapping):
        raise BadJson(f"{key} must be an object")
    return value


def _boolean(definition: Mapping[str, Any], key: str) -> bool | None:
    if key not in definition:
        return None
    value = definition[key]
    if not isinstance(value, bool):
        raise BadJson(f"{key} must be a boolean")
    return value


def _strings(definition: Mapping[str, Any], key: str) -> list[str] | None:
    if key not in definition:
        return None
    value = definition[key]
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise BadJson(f"{key} must be a list of strings")
    return value


def _identifiers(definition: Mapping[str, Any], key: str, parse: Callable[[str], str]) -> frozenset[str] | None:
    values = _strings(definition, key)
    try:
        return None if values is None else frozenset(parse(value) for value in values)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{key}: {error}") from None


def _limit(definition: Mapping[str, Any]) -> int | None:
    if "limit" not in definition:
        return None
    value = definition["limit"]
    if not isinstance(value, int) or isinstance(value, bool):
        raise BadJson("limit must be an integer")
    # The specification asks for more than 0; clients in the field send 0 as well, and get what 1 gives.
    if value < 0:
        raise InvalidParam("limit must not be negative")
    return value


def _event_format(definition: Mapping[str, Any]) -> EventFormat:
    value = definition.get("event_format", EventFormat.CLIENT.value)
    if not isinstance(value, str):
        raise BadJson("event_format must be a string")
    try:
        return EventFormat(value)
    except ValueError:
        raise InvalidParam("event_format must be client or federation") from None
