"""State sets: which entries all of them share, and which conflict.

Spec: https://spec.matrix.org/v1.19/rooms/v2/#state-resolution
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import EventId

StateKey = tuple[str, str]
StateIds = Mapping[StateKey, EventId]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeparatedState:
    """The state sets, taken apart: the unconflicted state map, and for each other key the events that claim it."""

    unconflicted: dict[StateKey, EventId]
    conflicted: dict[StateKey, frozenset[EventId]]

    @property
    def conflicted_state_set(self) -> set[EventId]:
        """Every event that stands under a conflicted key."""
        return set().union(*self.conflicted.values())


def separate(state_sets: Sequence[StateIds]) -> SeparatedState:
    """Unconflicted are the pairs that are present in *every* state set with the same event (v2 on).

    A key that some state set lacks is conflicted, even where the others agree.
    """
    if not state_sets:
        return SeparatedState(unconflicted={}, conflicted={})
    shared = set(state_sets[0].items()).intersection(*(state_set.items() for state_set in state_sets[1:]))
    return _separated(dict(shared), state_sets)


def separate_v1(state_sets: Sequence[StateIds]) -> SeparatedState:
    """A conflict occurs where state sets have *different* events for the same key (v1).

    A key that some state set lacks is no conflict: the start is the union of the states.
    """
    union: dict[StateKey, EventId] = {}
    disputed: set[StateKey] = set()
    for state_set in state_sets:
        disputed.update(key for key, event_id in state_set.items() if union.setdefault(key, event_id) != event_id)
    return _separated({key: event_id for key, event_id in union.items() if key not in disputed}, state_sets)


def _separated(unconflicted: dict[StateKey, EventId], state_sets: Sequence[StateIds]) -> SeparatedState:
    claims: dict[StateKey, set[EventId]] = {}
    for state_set in state_sets:
        for key, event_id in state_set.items():
            if key not in unconflicted:
                claims.setdefault(key, set()).add(event_id)
    return SeparatedState(
        unconflicted=unconflicted, conflicted={key: frozenset(event_ids) for key, event_ids in claims.items()}
    )
