"""Walks over the auth graph: auth chains, the auth difference, the conflicted state subgraph.

The auth graph maps an event to the events that its `auth_events` list; an event that it does not name has none. All
walks are iterative and visit each edge once, and end also where sender-assigned event ids (v1, v2) form a cycle.

Spec: https://spec.matrix.org/v1.19/rooms/v12/#definitions
"""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set

from tim_server.matrix.identifiers import EventId
from tim_server.matrix.state_resolution.state_sets import SeparatedState, StateIds

AuthGraph = Mapping[EventId, Sequence[EventId]]

_NOTHING: frozenset[EventId] = frozenset()


def reachable(start: Iterable[EventId], auth_graph: AuthGraph, *, known: Set[EventId] = _NOTHING) -> set[EventId]:
    """The events of `start` and their auth chains, without those of `known`, which must be closed under auth events."""
    found = set(start) - known
    stack = list(found)
    while stack:
        for auth_event_id in auth_graph.get(stack.pop(), ()):
            if auth_event_id not in found and auth_event_id not in known:
                found.add(auth_event_id)
                stack.append(auth_event_id)
    return found


def auth_difference(state_sets: Sequence[StateIds], separated: SeparatedState, auth_graph: AuthGraph) -> set[EventId]:
    """∪ Cᵢ − ∩ Cᵢ, where Cᵢ is the full auth chain of state Sᵢ.

    Cᵢ counts the events of Sᵢ themselves too, as the servers in the field do: an event that every state set holds is
    then never in the difference, whether or not something else cites it.
    """
    shared = reachable(separated.unconflicted.values(), auth_graph)
    chains = []
    for state_set in state_sets:
        conflicted = [event_id for key, event_id in state_set.items() if key not in separated.unconflicted]
        chains.append(reachable(conflicted, auth_graph, known=shared))
    if not chains:
        return set()
    return set().union(*chains) - chains[0].intersection(*chains[1:])


def conflicted_state_subgraph(conflicted_state_set: Collection[EventId], auth_graph: AuthGraph) -> set[EventId]:
    """All events on paths of auth events between any two conflicted events, those included (since v12).

    They lie below a conflicted event, and above one.
    """
    cited_by: dict[EventId, list[EventId]] = {}
    for event_id in reachable(conflicted_state_set, auth_graph):
        for auth_event_id in auth_graph.get(event_id, ()):
            cited_by.setdefault(auth_event_id, []).append(event_id)
    return reachable(conflicted_state_set, cited_by)


def full_conflicted_set(
    state_sets: Sequence[StateIds], separated: SeparatedState, auth_graph: AuthGraph, *, with_subgraph: bool
) -> set[EventId]:
    """The conflicted state set and the auth difference, and since v12 the conflicted state subgraph."""
    conflicted = separated.conflicted_state_set
    if not conflicted:
        return set()
    result = conflicted | auth_difference(state_sets, separated, auth_graph)
    if with_subgraph:
        result |= conflicted_state_subgraph(conflicted, auth_graph)
    return result
