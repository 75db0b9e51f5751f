"""A conflict between states, apart from the states: all that its resolution needs, small enough to travel.

Most of the state of a room is not in conflict; it stays where it is while a conflict is resolved in another process.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.matrix.state_resolution.auth_graph import AuthGraph
from tim_server.matrix.state_resolution.state_sets import StateKey

AUTH_TYPES = frozenset(
    {"m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.third_party_invite", "m.room.member"}
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflict:
    """The input of `resolve_conflict`, picklable.

    `claims` are the events that stand under each conflicted key, `base_state` is what of the unconflicted state may
    authorise something here, `auth_graph` has the edges within the full conflicted set.
    """

    version: RoomVersion
    claims: Mapping[StateKey, frozenset[EventId]]
    full_conflicted_set: frozenset[EventId]
    auth_graph: AuthGraph
    base_state: Mapping[StateKey, EventId]
    events: Mapping[EventId, Event]
    rejected: Set[EventId]


def minimal_event(event: Event) -> Event:
    """The event without what no resolution reads: content only of what authorises, the PDU of the create event only."""
    if event.type == "m.room.create":
        return event
    return replace(event, content=event.content if event.type in AUTH_TYPES else {}, pdu={})
