"""The resolution of a set of states, by the algorithm of the room version.

Spec: https://spec.matrix.org/v1.19/server-server-api/#room-state-resolution
"""

from collections.abc import Mapping, Sequence, Set

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion, StateResolution
from tim_server.matrix.state_resolution.auth_graph import AuthGraph
from tim_server.matrix.state_resolution.room_events import RoomEvents
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

    `events` holds at least what `events_to_load` and `memberships_to_load` name. `auth_graph` covers the state sets and
    their auth chains (v1 does not look at it). `rejected` are those of `events` that failed their authorisation.
    Deterministic, free of side effects, and picklable both ways. Raises `EventsNotLoaded`.
    """
    if len(state_sets) <= 1:
        return dict(state_sets[0]) if state_sets else {}
    room = RoomEvents(version=version, by_id=events, rejected=rejected)
    if version.state_resolution is StateResolution.V1:
        return resolve_v1(state_sets, room)
    return resolve_v2(state_sets, room, auth_graph, v2_1=version.state_resolution is StateResolution.V2_1)
