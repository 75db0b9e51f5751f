"""What the store has to load for a resolution, told by the auth graph alone; and the least of it that travels.

The store makes one recursive query for the auth graph below `graph_roots`, one for the bodies of `events_to_load`, and
in the rare case that `memberships_to_load` is not empty one more.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion, StateResolution
from tim_server.matrix.state_resolution.auth_graph import AuthGraph, full_conflicted_set, reachable
from tim_server.matrix.state_resolution.room_events import CREATE_KEY, POWER_LEVELS_KEY
from tim_server.matrix.state_resolution.state_sets import SeparatedState, StateIds, separate, separate_v1

# State that may authorise any event, but is stored under few keys.
_SHARED_AUTH_TYPES = frozenset(
    {"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite"}
)
_AUTH_TYPES = _SHARED_AUTH_TYPES | {"m.room.member"}


def graph_roots(state_sets: Sequence[StateIds]) -> set[EventId]:
    """The events that the recursive query for the auth graph starts from: all of every state set."""
    return {event_id for state_set in state_sets for event_id in state_set.values()}


def events_to_load(version: RoomVersion, state_sets: Sequence[StateIds], auth_graph: AuthGraph) -> set[EventId]:
    """The events whose bodies `resolve` needs; empty where there is no conflict.

    v1: the conflicting events, and the unconflicted state that authorises them. v2: the full conflicted set with its
    auth chains (which hold the mainlines), and the same unconflicted state, power levels with their auth chain. v2.1:
    the full conflicted set, conflicted state subgraph included, with its auth chains, and the create event.
    """
    separated = _separate(version, state_sets)
    if not separated.conflicted:
        return set()
    unconflicted = separated.unconflicted
    if version.state_resolution is StateResolution.V1:
        return separated.conflicted_state_set | _of_types(_SHARED_AUTH_TYPES, unconflicted)
    v2_1 = version.state_resolution is StateResolution.V2_1
    conflicted = full_conflicted_set(state_sets, separated, auth_graph, with_subgraph=v2_1)
    if v2_1:
        return reachable(conflicted, auth_graph) | _of_types({CREATE_KEY[0]}, unconflicted)
    power_levels = [unconflicted[POWER_LEVELS_KEY]] if POWER_LEVELS_KEY in unconflicted else []
    return reachable([*conflicted, *power_levels], auth_graph) | _of_types(_SHARED_AUTH_TYPES, unconflicted)


def memberships_to_load(
    version: RoomVersion, state_sets: Sequence[StateIds], events: Mapping[EventId, Event]
) -> set[EventId]:
    """The unconflicted memberships of users whom the events of `events_to_load` name, and which are not among them.

    Empty unless a membership is newer than those that the events cite. v2.1 starts from no state and needs none.
    """
    if version.state_resolution is StateResolution.V2_1:
        return set()
    unconflicted = _separate(version, state_sets).unconflicted
    keys = {("m.room.member", user_id) for event in events.values() for user_id in _users_of(event)}
    return {unconflicted[key] for key in keys if key in unconflicted and unconflicted[key] not in events}


def minimal_event(event: Event) -> Event:
    """The event without what no resolution reads, so that it travels cheaply to another process."""
    if event.type in _AUTH_TYPES:
        return event
    return replace(event, content={}, pdu={}, prev_events=event.prev_events[:1])


def _separate(version: RoomVersion, state_sets: Sequence[StateIds]) -> SeparatedState:
    return (separate_v1 if version.state_resolution is StateResolution.V1 else separate)(state_sets)


def _of_types(types: Iterable[str], state: StateIds) -> set[EventId]:
    return {event_id for (event_type, _), event_id in state.items() if event_type in types}


def _users_of(event: Event) -> Iterable[str]:
    """The users whose memberships may authorise the event: sender, target, and who vouches for a restricted join."""
    yield event.sender
    if event.type == "m.room.member":
        if event.state_key is not None:
            yield event.state_key
        authorised_via = event.content.get("join_authorised_via_users_server")
        if isinstance(authorised_via, str):
            yield authorised_via
