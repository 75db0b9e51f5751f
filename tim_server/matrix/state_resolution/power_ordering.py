"""Reverse topological power ordering of power events.

Spec: https://spec.matrix.org/v1.19/rooms/v2/#definitions
"""

import heapq
from collections.abc import Callable, Collection, Iterable, Set

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.state_resolution.auth_graph import AuthGraph

PowerOrder = tuple[float, int, EventId]


def is_power_event(event: Event) -> bool:
    """`m.room.power_levels`, `m.room.join_rules`, or a kick or ban: what might take an ability from someone.

    They are state events; a kick or ban is an `m.room.member` event with `membership` `leave` or `ban` whose `sender`
    does not match its `state_key`.
    """
    if event.type in ("m.room.power_levels", "m.room.join_rules"):
        return event.is_state
    if event.type != "m.room.member" or not event.is_state:
        return False
    return event.content.get("membership") in ("leave", "ban") and event.sender != event.state_key


def with_conflicted_auth_chains(
    power_event_ids: Iterable[EventId], full_conflicted_set: Set[EventId], auth_graph: AuthGraph
) -> set[EventId]:
    """The set X: the power events, and the events of their auth chains that belong to the full conflicted set.

    As in the servers in the field the walk stays within the full conflicted set. That differs from the whole auth chain
    only where a path leaves the set and comes back, which the conflicted state subgraph rules out since v12.
    """
    chosen = set(power_event_ids)
    stack = list(chosen)
    while stack:
        for auth_event_id in auth_graph.get(stack.pop(), ()):
            if auth_event_id in full_conflicted_set and auth_event_id not in chosen:
                chosen.add(auth_event_id)
                stack.append(auth_event_id)
    return chosen


def reverse_topological_power_ordering(
    event_ids: Collection[EventId], auth_graph: AuthGraph, order: Callable[[EventId], PowerOrder]
) -> list[EventId]:
    """The lexicographically smallest topological ordering by auth events, earliest event first (Kahn's algorithm).

    `order` gives what events are compared by: greater power level of the sender first (thus negated), then lesser
    `origin_server_ts`, then lesser `event_id`. Events on a cycle have no place in the ordering and are left out.
    """
    members = event_ids if isinstance(event_ids, Set) else set(event_ids)
    waiting_for: dict[EventId, int] = {}
    cited_by: dict[EventId, list[EventId]] = {}
    for event_id in members:
        auth_event_ids = {other for other in auth_graph.get(event_id, ()) if other in members}
        waiting_for[event_id] = len(auth_event_ids)
        for auth_event_id in auth_event_ids:
            cited_by.setdefault(auth_event_id, []).append(event_id)
    candidates = [order(event_id) for event_id, count in waiting_for.items() if count == 0]
    heapq.heapify(candidates)
    ordering: list[EventId] = []
    while candidates:
        event_id = heapq.heappop(candidates)[2]
        ordering.append(event_id)
        for citing in cited_by.get(event_id, ()):
            waiting_for[citing] -= 1
            if waiting_for[citing] == 0:
                heapq.heappush(candidates, order(citing))
    return ordering
