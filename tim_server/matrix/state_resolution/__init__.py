"""State resolution: v1 (room version 1), v2 (2–11) and v2.1 (12).

`resolve` does all at once. With a store and a process pool: `plan_resolution` on the auth graph, load the plan's
`event_ids` and the `memberships_to_load`, send `conflict_of` them to `resolve_conflict`, and give that to `merged`.
"""

from tim_server.matrix.state_resolution.auth_graph import AuthGraph
from tim_server.matrix.state_resolution.conflict import Conflict
from tim_server.matrix.state_resolution.plan import (
    ResolutionPlan,
    conflict_of,
    graph_roots,
    memberships_to_load,
    plan_resolution,
)
from tim_server.matrix.state_resolution.resolve import resolve, resolve_conflict
from tim_server.matrix.state_resolution.room_events import EventsNotLoaded

__all__ = [
    "AuthGraph",
    "Conflict",
    "EventsNotLoaded",
    "ResolutionPlan",
    "conflict_of",
    "graph_roots",
    "memberships_to_load",
    "plan_resolution",
    "resolve",
    "resolve_conflict",
]
