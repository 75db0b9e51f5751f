"""Mainline ordering: events by the power levels event that they build on.

Spec: https://spec.matrix.org/v1.19/rooms/v2/#definitions
"""

import math
from collections.abc import Callable, Iterable

from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId

PowerLevelsOf = Callable[[EventId], EventId | None]


def mainline(power_levels_id: EventId | None, power_levels_of: PowerLevelsOf) -> dict[EventId, int]:
    """The mainline of a power levels event P₀: itself, the one in its auth events, and so on, each with its index.

    `power_levels_of` gives the `m.room.power_levels` event among the auth events of an event.
    """
    positions: dict[EventId, int] = {}
    current = power_levels_id
    while current is not None and current not in positions:
        positions[current] = len(positions)
        current = power_levels_of(current)
    return positions


def mainline_ordering(
    events: Iterable[Event], power_levels_id: EventId | None, power_levels_of: PowerLevelsOf
) -> list[EventId]:
    """The events by mainline position (greater first), then `origin_server_ts`, then `event_id` (lesser first)."""
    positions: dict[EventId, float] = dict(mainline(power_levels_id, power_levels_of))

    def order(event: Event) -> tuple[float, int, EventId]:
        position = _mainline_position(event.event_id, positions, power_levels_of)
        return -position, event.origin_server_ts, event.event_id

    return [event.event_id for event in sorted(events, key=order)]


def _mainline_position(event_id: EventId, positions: dict[EventId, float], power_levels_of: PowerLevelsOf) -> float:
    """Index on the mainline of the nearest power levels event that `event_id` builds on; infinite where there is none.

    `positions` begins as the mainline and remembers each power levels event that was passed on the way.
    """
    passed: dict[EventId, None] = {}
    current = power_levels_of(event_id)
    while current is not None and current not in positions and current not in passed:
        passed[current] = None
        current = power_levels_of(current)
    position = math.inf if current is None else positions.get(current, math.inf)
    positions.update(dict.fromkeys(passed, position))
    return position
