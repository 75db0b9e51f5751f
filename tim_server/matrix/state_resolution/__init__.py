"""State resolution: v1 (room version 1), v2 (2–11) and v2.1 (12)."""

from tim_server.matrix.state_resolution.auth_graph import AuthGraph
from tim_server.matrix.state_resolution.loading import events_to_load, graph_roots, memberships_to_load, minimal_event
from tim_server.matrix.state_resolution.resolve import resolve
from tim_server.matrix.state_resolution.room_events import EventsNotLoaded

__all__ = [
    "AuthGraph",
    "EventsNotLoaded",
    "events_to_load",
    "graph_roots",
    "memberships_to_load",
    "minimal_event",
    "resolve",
]
