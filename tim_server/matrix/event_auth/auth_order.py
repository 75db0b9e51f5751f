"""An order in which events can be checked: each after those that authorise it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#authorization-rules
"""

from collections import deque
from collections.abc import Mapping, Sequence

from tim_server.matrix.identifiers import EventId


def auth_order(auth_graph: Mapping[EventId, Sequence[EventId]]) -> list[EventId]:
    """The events of the graph (event → its auth events), each after those of its auth events that are in the graph.

    What is on a cycle, which sender-assigned ids (v1, v2) can make, or cites what is, is left out.
    """
    waits_for: dict[EventId, int] = {}
    cited_by: dict[EventId, list[EventId]] = {}
    for event_id, auth_events in auth_graph.items():
        within = {auth_event for auth_event in auth_events if auth_event in auth_graph}
        waits_for[event_id] = len(within)
        for auth_event in within:
            cited_by.setdefault(auth_event, []).append(event_id)
    ready = deque(event_id for event_id, count in waits_for.items() if count == 0)
    ordered = []
    while ready:
        event_id = ready.popleft()
        ordered.append(event_id)
        for citing in cited_by.get(event_id, ()):
            waits_for[citing] -= 1
            if waits_for[citing] == 0:
                ready.append(citing)
    return ordered
