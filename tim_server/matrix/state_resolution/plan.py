"""The plan of a resolution: what conflicts, and which events the store has to load to resolve it.

The store makes one recursive query for the auth graph below `graph_roots`, one query for the bodies of the plan's
`event_ids`, and in the rare case that `memberships_to_load` is not empty one more.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion, StateResolution
from tim_server.matrix.state_resolution.auth_graph import AuthGraph, full_conflicted_set, reachable
from tim_server.matrix.state_resolution.conflict import AUTH_TYPES, Conflict, minimal_event
from tim_server.matrix.state_resolution.room_events import POWER_LEVELS_KEY, EventsNotLoaded
from tim_server.matrix.state_resolution.state_sets import (
    SeparatedState,
    StateIds,
    StateKey,
    separate,
    separate_v1,
)

# State that may authorise any event, and is stored under few keys.
_SHARED_AUTH_TYPES = AUTH_TYPES - {"m.room.member"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolutionPlan:
    """The state sets taken apart, and what is to be loaded: `event_ids`, empty where nothing conflicts."""

    version: RoomVersion
    separated: SeparatedState
    full_conflicted_set: frozenset[EventId]
    auth_graph: AuthGraph
    event_ids: frozenset[EventId]

    @property
    def has_conflict(self) -> bool:
        """Whether the states differ in a way that has to be resolved; if not, `merged({})` is the resolution."""
        return bool(self.separated.conflicted)

    def merged(self, resolved: StateIds) -> dict[StateKey, EventId]:
        """The resolution of the whole: the resolved conflict, with the unconflicted state laid over it."""
        return {**resolved, **self.separated.unconflicted}


def graph_roots(state_sets: Sequence[StateIds]) -> set[EventId]:
    """The events that the recursive query for the auth graph starts from: all of every state set."""
    return {event_id for state_set in state_sets for event_id in state_set.values()}


def plan_resolution(version: RoomVersion, state_sets: Sequence[StateIds], auth_graph: AuthGraph) -> ResolutionPlan:
    """The plan for these states; `auth_graph` covers them and their auth chains (v1 does not look at it).

    To be loaded are, for v1: the conflicting events and the unconflicted state that authorises them. For v2: the full
    conflicted set with its auth chains (which hold the mainlines), and the same unconflicted state, power levels with
    their auth chain. For v2.1: the full conflicted set, conflicted state subgraph included, with its auth chains, and
    the create event.
    """
    algorithm = version.state_resolution
    separated = separate_v1(state_sets) if algorithm is StateResolution.V1 else separate(state_sets)
    event_ids: set[EventId] = set()
    if algorithm is StateResolution.V1:
        conflicted = separated.conflicted_state_set
        event_ids = conflicted
    else:
        v2_1 = algorithm is StateResolution.V2_1
        conflicted = full_conflicted_set(state_sets, separated, auth_graph, with_subgraph=v2_1)
        event_ids = reachable(conflicted, auth_graph)
    if conflicted:
        event_ids = event_ids | _authorising(version, separated.unconflicted, auth_graph)
    return ResolutionPlan(
        version=version,
        separated=separated,
        full_conflicted_set=frozenset(conflicted),
        auth_graph={event_id: tuple(conflicted.intersection(auth_graph.get(event_id, ()))) for event_id in conflicted},
        event_ids=frozenset(event_ids),
    )


def memberships_to_load(plan: ResolutionPlan, events: Mapping[EventId, Event]) -> set[EventId]:
    """The unconflicted memberships of users whom the conflict names, which are not among the plan's events.

    Empty unless a membership is newer than those that the events cite. v2.1 starts from no state and needs none.
    """
    if not plan.has_conflict or plan.version.state_resolution is StateResolution.V2_1:
        return set()
    return set(_memberships(plan, events).values()).difference(events)


def conflict_of(
    plan: ResolutionPlan, events: Mapping[EventId, Event], rejected: Set[EventId] = frozenset()
) -> Conflict:
    """The conflict of a plan, with what is needed of `events`, for `resolve_conflict`. Raises `EventsNotLoaded`.

    `events` holds what the plan and `memberships_to_load` name; `rejected` are those that failed their authorisation.
    """
    unconflicted = plan.separated.unconflicted
    base_state = {key: event_id for key, event_id in unconflicted.items() if key[0] in _SHARED_AUTH_TYPES}
    if plan.version.state_resolution is not StateResolution.V2_1:
        base_state |= _memberships(plan, events)
    needed = plan.event_ids.union(base_state.values())
    return Conflict(
        version=plan.version,
        claims=plan.separated.conflicted,
        full_conflicted_set=plan.full_conflicted_set,
        auth_graph=plan.auth_graph,
        base_state=base_state,
        events={event_id: minimal_event(events[event_id]) for event_id in needed if event_id in events},
        rejected=frozenset(needed & rejected),
    )


def _authorising(version: RoomVersion, unconflicted: StateIds, auth_graph: AuthGraph) -> set[EventId]:
    """The unconflicted state of few keys that may authorise what conflicts. v2.1 looks at the create event only."""
    if version.state_resolution is StateResolution.V2_1:
        return _of_types({"m.room.create"}, unconflicted)
    shared = _of_types(_SHARED_AUTH_TYPES, unconflicted)
    if version.state_resolution is StateResolution.V1 or POWER_LEVELS_KEY not in unconflicted:
        return shared
    return shared | reachable([unconflicted[POWER_LEVELS_KEY]], auth_graph)


def _of_types(types: Set[str], state: StateIds) -> set[EventId]:
    return {event_id for (event_type, _), event_id in state.items() if event_type in types}


def _memberships(plan: ResolutionPlan, events: Mapping[EventId, Event]) -> dict[StateKey, EventId]:
    """The unconflicted memberships of the users whom events of the full conflicted set name."""
    unconflicted = plan.separated.unconflicted
    found: dict[StateKey, EventId] = {}
    for event_id in plan.full_conflicted_set:
        if event_id not in events:
            raise EventsNotLoaded(event_id)
        for user_id in _users_of(events[event_id]):
            key = ("m.room.member", user_id)
            if key in unconflicted:
                found[key] = unconflicted[key]
    return found


def _users_of(event: Event) -> Iterable[str]:
    """The users whose memberships may authorise the event: sender, target, and who vouches for a restricted join."""
    yield event.sender
    if event.type == "m.room.member":
        if event.state_key is not None:
            yield event.state_key
        authorised_via = event.content.get("join_authorised_via_users_server")
        if isinstance(authorised_via, str):
            yield authorised_via
