"""The events that a resolution works on, and what it asks of them more than once."""

from collections.abc import Mapping, Set
from dataclasses import dataclass, field

from tim_server.matrix.event_auth.power_levels import PowerLevels
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.matrix.state_resolution.state_sets import StateKey

CREATE_KEY: StateKey = ("m.room.create", "")
POWER_LEVELS_KEY: StateKey = ("m.room.power_levels", "")


class EventsNotLoaded(LookupError):
    """The resolution needs an event that was not given to it: the caller has not loaded what the plan names."""

    def __init__(self, event_id: EventId) -> None:
        self.event_id = event_id
        super().__init__(f"event {event_id} is needed, but was not loaded")


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomEvents:
    """Events of one room by id, those of them that were rejected, and a memo of the power levels that they cite."""

    version: RoomVersion
    by_id: Mapping[EventId, Event]
    rejected: Set[EventId]
    _power_levels_of: dict[EventId, EventId | None] = field(default_factory=dict)

    def event(self, event_id: EventId) -> Event:
        """The event of this id; raises `EventsNotLoaded`."""
        try:
            return self.by_id[event_id]
        except KeyError:
            raise EventsNotLoaded(event_id) from None

    def auth_event(self, event: Event, key: StateKey) -> Event | None:
        """The event of this key among the auth events of `event`; the create event is implied by the room id in v12."""
        if self.version.room_id_is_create_hash and key == CREATE_KEY:
            return self.implied_create_event(event)
        for auth_event_id in event.auth_events:
            auth_event = self.event(auth_event_id)
            if (auth_event.type, auth_event.state_key) == key:
                return auth_event
        return None

    def implied_create_event(self, event: Event) -> Event | None:
        """Since v12: the create event, whose id is the room id with the other sigil. The create event has none."""
        create_id = EventId("$" + event.room_id[1:])
        return None if create_id == event.event_id else self.event(create_id)

    def power_levels_of(self, event_id: EventId) -> EventId | None:
        """The `m.room.power_levels` event among the auth events of an event."""
        if event_id not in self._power_levels_of:
            found = self.auth_event(self.event(event_id), POWER_LEVELS_KEY)
            self._power_levels_of[event_id] = None if found is None else found.event_id
        return self._power_levels_of[event_id]

    def sender_power_level(self, event: Event) -> float:
        """Power level of the sender by the auth events of the event; infinite for creators since v12."""
        create = self.auth_event(event, CREATE_KEY)
        power_levels_id = self.power_levels_of(event.event_id)
        power_levels = None if power_levels_id is None else self.event(power_levels_id)
        return PowerLevels.of(power_levels, create).user_level(event.sender)
