"""State resolution v1 (room version 1).

Spec: https://spec.matrix.org/v1.19/rooms/v1/#state-resolution
"""

import hashlib
from collections.abc import Collection

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.state_resolution.conflict import Conflict
from tim_server.matrix.state_resolution.iterative_auth import auth_keys, is_allowed
from tim_server.matrix.state_resolution.room_events import RoomEvents
from tim_server.matrix.state_resolution.state_sets import StateIds, StateKey

# Conflicts between these are resolved first, in this order; no other events affect the authorisation rules.
_AUTH_TYPES_IN_ORDER = ("m.room.power_levels", "m.room.join_rules", "m.room.member")


def resolve_v1(conflict: Conflict) -> dict[StateKey, EventId]:
    """The resolution of the conflicting events, built up in passes over the result so far, *R*."""
    room = RoomEvents(version=conflict.version, by_id=conflict.events, rejected=conflict.rejected)
    # Start by setting R to the union of the states to be resolved, excluding any conflicting events.
    resolved = dict(conflict.base_state)
    # First resolve conflicts between power levels, then between join rules, then between memberships.
    for event_type in _AUTH_TYPES_IN_ORDER:
        disputes = {key: claims for key, claims in conflict.claims.items() if key[0] == event_type}
        resolved |= {key: _resolve_auth_events(claims, resolved, room) for key, claims in disputes.items()}
    others = {key: claims for key, claims in conflict.claims.items() if key[0] not in _AUTH_TYPES_IN_ORDER}
    return resolved | {key: _resolve_other_events(claims, resolved, room) for key, claims in others.items()}


def _resolve_auth_events(event_ids: Collection[EventId], resolved: StateIds, room: RoomEvents) -> EventId:
    """Add the first event in the list to R; each following one that R allows replaces it, until one is not allowed."""
    ordered = _by_ascending_depth(event_ids, room)
    accepted = ordered[0]
    for event in ordered[1:]:
        state = _auth_state(event, resolved, room)
        if accepted.state_key is not None:
            state[accepted.type, accepted.state_key] = accepted
        if not is_allowed(event, state, room):
            break
        accepted = event
    return accepted.event_id


def _resolve_other_events(event_ids: Collection[EventId], resolved: StateIds, room: RoomEvents) -> EventId:
    """The event with the highest depth and lowest `sha1(event_id)` that R allows.

    Where R allows none, the event of least depth stands, as in the servers in the field.
    """
    ordered = _by_ascending_depth(event_ids, room)
    for event in reversed(ordered):
        if is_allowed(event, _auth_state(event, resolved, room), room):
            return event.event_id
    return ordered[0].event_id


def _by_ascending_depth(event_ids: Collection[EventId], room: RoomEvents) -> list[Event]:
    """Sorted by ascending `depth`, then descending `sha1(event_id)`."""

    def order(event: Event) -> tuple[int, bytes]:
        return -event.depth, hashlib.sha1(event.event_id.encode(), usedforsecurity=False).digest()

    return sorted(map(room.event, event_ids), key=order, reverse=True)


def _auth_state(event: Event, resolved: StateIds, room: RoomEvents) -> dict[StateKey, Event]:
    """The state events of R that the authorisation rules need; auth events of the event itself are no substitute."""
    return {key: room.event(resolved[key]) for key in auth_keys(event, room) if key in resolved}
