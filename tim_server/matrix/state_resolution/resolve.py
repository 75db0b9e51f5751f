"""The resolution of a set of states, by the algorithm of the room version.

Spec: https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

from collections.abc import Mapping, Sequence, Set

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion, StateResolution
from tim_server.matrix.state_resolution.auth_graph import AuthGraph
from tim_server.matrix.state_resolution.conflict import Conflict
from tim_server.matrix.state_resolution.plan import conflict_of, plan_resolution
from tim_server.matrix.state_resolution.state_sets import StateIds, StateKey
from tim_server.matrix.state_resolution.v1 import resolve_v1
from tim_server.matrix.state_resolution.v2 import resolve_v2


def resolve(
    version: RoomVersion,
    state_sets: Sequence[StateIds],
    events: Mapping[EventId, Event],
    auth_graph: AuthGraph,
    rejected: Set[EventId] = frozenset(),
) -> dict[StateKey, EventId]:
    """The resolved state of `state_sets`, the states after each forward extremity (or each `prev_events` entry).

    All steps in one: `plan_resolution`, `conflict_of`, `resolve_conflict`, `merged`. `events` holds at least what the
    plan and `memberships_to_load` name. Deterministic and free of side effects. Raises `EventsNotLoaded`.
    """
    plan = plan_resolution(version, state_sets, auth_graph)
    if not plan.has_conflict:
        return plan.merged({})
    return plan.merged(resolve_conflict(conflict_of(plan, events, rejected)))


def resolve_conflict(conflict: Conflict) -> dict[StateKey, EventId]:
    """The state that a conflict resolves to, fit to run in another process: to be given to the plan's `merged`."""
    match conflict.version.state_resolution:
        case StateResolution.V1:
            return resolve_v1(conflict)
        case StateResolution.V2:
            return resolve_v2(conflict, start=conflict.base_state)
        case StateResolution.V2_1:
            return resolve_v2(conflict, start={})
