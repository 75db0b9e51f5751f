"""State resolution v2 (room versions 2–11) and v2.1 (since room version 12).

Spec: https://spec.matrix.org/v1.19/rooms/v2/#state-resolution and https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
"""

from tim_server.matrix.identifiers import EventId
from tim_server.matrix.state_resolution.conflict import Conflict
from tim_server.matrix.state_resolution.iterative_auth import iterative_auth_checks
from tim_server.matrix.state_resolution.mainline import mainline_ordering
from tim_server.matrix.state_resolution.power_ordering import (
    PowerOrder,
    is_power_event,
    reverse_topological_power_ordering,
    with_conflicted_auth_chains,
)
from tim_server.matrix.state_resolution.room_events import POWER_LEVELS_KEY, RoomEvents
from tim_server.matrix.state_resolution.state_sets import StateIds, StateKey


def resolve_v2(conflict: Conflict, *, start: StateIds) -> dict[StateKey, EventId]:
    """Steps 1 to 4 of the resolution; step 5 lays the unconflicted state map over the result.

    `start` is the unconflicted state map, of which `base_state` is all that matters here; since v12 it is empty.
    """
    room = RoomEvents(version=conflict.version, by_id=conflict.events, rejected=conflict.rejected)
    conflicted = conflict.full_conflicted_set

    # 1. Select the set X of all power events in the full conflicted set, enlarged by the events of their auth chains
    #    which also belong to it. Sort X into a list using the reverse topological power ordering.
    power_event_ids = [event_id for event_id in conflicted if is_power_event(room.event(event_id))]
    chosen = with_conflicted_auth_chains(power_event_ids, conflicted, conflict.auth_graph)

    def order(event_id: EventId) -> PowerOrder:
        event = room.event(event_id)
        return -room.sender_power_level(event), event.origin_server_ts, event_id

    power_ordering = reverse_topological_power_ordering(chosen, conflict.auth_graph, order)

    # 2. Apply the iterative auth checks to that list, starting from the unconflicted state map; since v12 from an
    #    empty state map.
    partially_resolved = iterative_auth_checks(start, power_ordering, room)

    # 3. Take all remaining events and order them by the mainline ordering based on the power levels in the partially
    #    resolved state.
    remaining = [room.event(event_id) for event_id in conflicted.difference(power_ordering)]
    ordering = mainline_ordering(remaining, partially_resolved.get(POWER_LEVELS_KEY), room.power_levels_of)

    # 4. Apply the iterative auth checks on the partially resolved state and that list.
    return iterative_auth_checks(partially_resolved, ordering, room)
