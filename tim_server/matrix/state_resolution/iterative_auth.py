"""Iterative auth checks: a state built by applying those events, one after another, that the state so far allows.

Spec: https://spec.matrix.org/v1.19/rooms/v2/#definitions
"""

from collections.abc import Iterable, Mapping

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth import auth_types_for, check_auth_rules
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.state_resolution.room_events import CREATE_KEY, RoomEvents
from tim_server.matrix.state_resolution.state_sets import StateIds, StateKey


def iterative_auth_checks(
    initial_state: StateIds, event_ids: Iterable[EventId], room: RoomEvents
) -> dict[StateKey, EventId]:
    """`initial_state` with each event applied, in order, that the authorisation rules allow in the state so far.

    Events that were rejected by the state before them are judged like all others.
    """
    state = dict(initial_state)
    for event_id in event_ids:
        event = room.event(event_id)
        if event.state_key is not None and is_allowed(event, auth_state(event, state, room), room):
            state[event.type, event.state_key] = event_id
    return state


def is_allowed(event: Event, state: Mapping[StateKey, Event], room: RoomEvents) -> bool:
    """Whether the event passes the authorisation rules in this state."""
    try:
        check_auth_rules(event, state, room.version)
    except EventRejected:
        return False
    return True


def auth_state(event: Event, state: StateIds, room: RoomEvents) -> dict[StateKey, Event]:
    """The state events that the authorisation rules need for `event`.

    Where `state` lacks one, the one from the event's `auth_events` is used, if it is not rejected. In v12 the create
    event is implied by the room id.
    """
    needed: dict[StateKey, Event] = {}
    for key in auth_keys(event, room):
        event_id = state.get(key)
        if event_id is not None:
            needed[key] = room.event(event_id)
            continue
        auth_event = room.auth_event(event, key)
        if auth_event is not None and auth_event.event_id not in room.rejected:
            needed[key] = auth_event
    return needed


def auth_keys(event: Event, room: RoomEvents) -> set[StateKey]:
    """The keys of the state that authorises `event`: the auth events selection, and in v12 too the create event."""
    if event.state_key is not None and event.type == "m.room.create":
        return set()
    selection = auth_types_for(event.type, event.sender, event.state_key, event.content, room.version)
    return selection | {CREATE_KEY}
