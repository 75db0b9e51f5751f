"""State resolution v2 (room versions 2–11) and v2.1 (since room version 12).

Spec: https://spec.matrix.org/v1.19/rooms/v2/#state-resolution and https://spec.matrix.org/v1.19/rooms/v12/#state-resolution
"""

from collections.abc import Sequence

from tim_server.matrix.identifiers import EventId
from tim_server.matrix.state_resolution.auth_graph import AuthGraph, full_conflicted_set
from tim_server.matrix.state_resolution.iterative_auth import iterative_auth_checks
from tim_server.matrix.state_resolution.mainline import mainline_ordering
from tim_server.matrix.state_resolution.power_ordering import (
    PowerOrder,
    is_power_event,
    reverse_topological_power_ordering,
    with_conflicted_auth_chains,
)
from tim_server.matrix.state_resolution.room_events import POWER_LEVELS_KEY, RoomEvents
from tim_server.matrix.state_resolution.state_sets import StateIds, StateKey, separate


def resolve_v2(
    state_sets: Sequence[StateIds], room: RoomEvents, auth_graph: AuthGraph, *, v2_1: bool
) -> dict[StateKey, EventId]:
    """The resolution of the state sets; `v2_1` applies the three changes of room version 12."""
    separated = separate(state_sets)
    if not separated.conflicted:
        return separated.unconflicted
    conflicted = full_conflicted_set(state_sets, separated, auth_graph, with_subgraph=v2_1)

    # 1. Select the set X of all power events in the full conflicted set, enlarged by the events of their auth chains
    #    which also belong to it. Sort X into a list using the reverse topological power ordering.
    power_event_ids = [event_id for event_id in conflicted if is_power_event(room.event(event_id))]
    chosen = with_conflicted_auth_chains(power_event_ids, conflicted, auth_graph)

    def order(event_id: EventId) -> PowerOrder:
        event = room.event(event_id)
        return -room.sender_power_level(event), event.origin_server_ts, event_id

    power_ordering = reverse_topological_power_ordering(chosen, auth_graph, order)

    # 2. Apply the iterative auth checks to that list, starting from the unconflicted state map; since v12 from an
    #    empty state map.
    start = {} if v2_1 else separated.unconflicted
    partially_resolved = iterative_auth_checks(start, power_ordering, room)

    # 3. Take all remaining events and order them by the mainline ordering based on the power levels in the partially
    #    resolved state.
    remaining = [room.event(event_id) for event_id in conflicted.difference(power_ordering)]
    ordering = mainline_ordering(remaining, partially_resolved.get(POWER_LEVELS_KEY), room.power_levels_of)

    # 4. Apply the iterative auth checks on the partially resolved state and that list.
    resolved = iterative_auth_checks(partially_resolved, ordering, room)

    # 5. Replace any event with the one of the same key from the unconflicted state map.
    return resolved | separated.unconflicted
