"""Power levels of a room: who may do what.

Spec: https://spec.matrix.org/v1.19/client-server-api/#mroompower_levels
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from tim_server.matrix.events.record import Event

CREATOR_LEVEL = 100
DEFAULTS = {
    "ban": 50,
    "kick": 50,
    "redact": 50,
    "invite": 0,
    "users_default": 0,
    "events_default": 0,
    "state_default": 50,
}
_INTEGER = re.compile(r"\s*[+-]?[0-9]{1,4000}\s*").fullmatch
LEVEL_PROPERTIES = ("users_default", "events_default", "state_default", "ban", "redact", "kick", "invite")


def read_level(value: Any, *, integers_only: bool) -> int | None:
    """The level that a value of power levels states; None where it states none.

    v1–v9: also a string: "a single base 10 integer, optionally with any number of leading zeroes, optionally prefixed
    with a single - or + character, optionally with any number of leading or trailing whitespace characters".
    v1–v5: also a float: "the value is truncated at the decimal point". (Since v6, JSON of events holds no floats.)
    """
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    if integers_only:
        return None
    if isinstance(value, float) and math.isfinite(value):
        return int(value)
    if isinstance(value, str) and _INTEGER(value):
        return int(value)
    return None


def creators_of(create: Event | None) -> frozenset[str]:
    """The creators of a room: since v12 several; since v11 the sender; before, `content.creator`."""
    if create is None:
        return frozenset()
    version = create.room_version
    if version.privileged_creators:
        additional = create.content.get("additional_creators")
        return frozenset({create.sender, *(additional if isinstance(additional, list) else ())})
    if version.implicit_room_creator:
        return frozenset({create.sender})
    creator = create.content.get("creator")
    return frozenset({creator}) if isinstance(creator, str) else frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerLevels:
    """The content of `m.room.power_levels`, read once; or the defaults of a room without such an event."""

    users: Mapping[str, int]
    events: Mapping[str, int]
    infinite: frozenset[str]
    users_default: int
    events_default: int
    state_default: int
    ban: int
    kick: int
    redact: int
    invite: int

    @staticmethod
    def of(power_levels: Event | None, create: Event | None) -> "PowerLevels":
        """The power levels that these events state; the same events are read only once."""
        return _read(power_levels, create)

    def user_level(self, user_id: str) -> float:
        """The user's level; infinite for creators since v12."""
        if user_id in self.infinite:
            return math.inf
        return self.users.get(user_id, self.users_default)

    def event_level(self, event_type: str, *, is_state: bool) -> int:
        """The level that sending an event of this type requires."""
        level = self.events.get(event_type)
        if level is not None:
            return level
        return self.state_default if is_state else self.events_default


@lru_cache(maxsize=512)
def _read(power_levels: Event | None, create: Event | None) -> PowerLevels:
    creators = creators_of(create)
    privileged = create is not None and create.room_version.privileged_creators
    infinite = creators if privileged else frozenset()
    if power_levels is None:
        # "If the room contains no m.room.power_levels event, the room's creator has a power level of 100, and all other
        # users have a power level of 0"; "the state_default is 50".
        return PowerLevels(
            users={} if privileged else dict.fromkeys(creators, CREATOR_LEVEL),
            events={},
            infinite=infinite,
            **DEFAULTS,
        )
    content = power_levels.content
    integers_only = power_levels.room_version.integer_power_levels
    levels = {}
    for name, default in DEFAULTS.items():
        level = read_level(content.get(name), integers_only=integers_only)
        levels[name] = default if level is None else level
    return PowerLevels(
        users=_read_map(content.get("users"), integers_only=integers_only),
        events=_read_map(content.get("events"), integers_only=integers_only),
        infinite=infinite,
        **levels,
    )


def _read_map(value: Any, *, integers_only: bool) -> dict[str, int]:
    if not isinstance(value, dict):
        return {}
    levels = ((key, read_level(item, integers_only=integers_only)) for key, item in value.items())
    return {key: level for key, level in levels if level is not None}
