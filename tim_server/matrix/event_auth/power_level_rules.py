"""The rule "If type is m.room.power_levels".

Spec: https://spec.matrix.org/v1.19/rooms/v12/#authorization-rules
"""

from collections.abc import Iterator, Mapping
from typing import Any

from tim_server.matrix.errors import EventRejected
from tim_server.matrix.event_auth.power_levels import LEVEL_PROPERTIES, PowerLevels, creators_of, read_level
from tim_server.matrix.event_auth.selection import CREATE, POWER_LEVELS, StateMap
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import InvalidIdentifier, UserId
from tim_server.matrix.room_versions import RoomVersion


def check_power_levels(event: Event, auth_state: StateMap, power: PowerLevels, version: RoomVersion) -> None:
    """Rule 10 of v12 (9 in v8). Raises `EventRejected`."""
    _check_form(event.content, version)
    # Since v12: "If the users property in content contains the sender of the m.room.create event or any of the
    # additional_creators, reject."
    users = event.content.get("users", {})
    if version.privileged_creators and creators_of(auth_state.get(CREATE)) & users.keys():
        raise EventRejected("power levels may not name the room's creators")
    # "If there is no previous m.room.power_levels event in the room, allow."
    previous = auth_state.get(POWER_LEVELS)
    if previous is None:
        return
    sender_level = power.user_level(event.sender)
    integers_only = version.integer_power_levels
    _check_properties(previous.content, event.content, sender_level, integers_only=integers_only)
    for name in ("events", "notifications") if version.notifications_power_level_auth else ("events",):
        for key, old, new in _changes(previous.content.get(name), event.content.get(name), integers_only=integers_only):
            # "For each entry being changed in, or removed from, the events or notifications properties: if the current
            # value is greater than the sender's current power level, reject." For each added or changed, the
            # same holds of the new value. In v1–v5 only `events` counts.
            if _is_above(old, sender_level) or _is_above(new, sender_level):
                raise EventRejected(f"the sender has not the power to change {name}.{key}")
    _check_users(event, previous.content, sender_level, integers_only=integers_only)


def _check_form(content: Mapping[str, Any], version: RoomVersion) -> None:
    integers_only = version.integer_power_levels
    if integers_only:
        # Since v10: "If any of the properties users_default, events_default, state_default, ban, redact, kick, or
        # invite in content are present and not an integer, reject."
        for name in LEVEL_PROPERTIES:
            if name in content and read_level(content[name], integers_only=True) is None:
                raise EventRejected(f"{name} is not an integer")
        # Since v10: "If either of the properties events or notifications in content are present and not an object with
        # values that are integers, reject."
        for name in ("events", "notifications"):
            if name in content:
                _check_map(name, content[name], integers_only=True)
    # "If the users property in content is not an object with keys that are valid user IDs with values that are
    # integers, reject." v1–v9: "(or a string that is an integer)".
    users = content.get("users", {})
    _check_map("users", users, integers_only=integers_only)
    for user_id in users:
        try:
            UserId.parse(user_id)
        except InvalidIdentifier as error:
            raise EventRejected("users holds what is no user id") from error


def _check_map(name: str, value: Any, *, integers_only: bool) -> None:
    if not isinstance(value, dict):
        raise EventRejected(f"{name} is not an object")
    if any(read_level(level, integers_only=integers_only) is None for level in value.values()):
        raise EventRejected(f"{name} holds a level that is not an integer")


def _check_properties(
    old: Mapping[str, Any], new: Mapping[str, Any], sender_level: float, *, integers_only: bool
) -> None:
    # "For the properties users_default, events_default, state_default, ban, redact, kick, invite check if they were
    # added, changed or removed. For each found alteration: if the current value is higher than the sender's current
    # power level, reject; if the new value is higher than the sender's current power level, reject."
    for name in LEVEL_PROPERTIES:
        before = read_level(old.get(name), integers_only=integers_only)
        after = read_level(new.get(name), integers_only=integers_only)
        if before != after and (_is_above(before, sender_level) or _is_above(after, sender_level)):
            raise EventRejected(f"the sender has not the power to change {name}")


def _check_users(event: Event, old: Mapping[str, Any], sender_level: float, *, integers_only: bool) -> None:
    for user_id, before, after in _changes(old.get("users"), event.content.get("users"), integers_only=integers_only):
        # "For each entry being changed in, or removed from, the users property, other than the sender's own entry: if
        # the current value is greater than or equal to the sender's current power level, reject."
        if before is not None and user_id != event.sender and before >= sender_level:
            raise EventRejected(f"the sender has not the power to change the level of {user_id}")
        # "For each entry being added to, or changed in, the users property: if the new value is greater than the
        # sender's current power level, reject."
        if _is_above(after, sender_level):
            raise EventRejected(f"the sender may not raise {user_id} above its own level")


def _changes(old: Any, new: Any, *, integers_only: bool) -> Iterator[tuple[str, int | None, int | None]]:
    """Entries that were added, changed or removed: key, level before, level after."""
    before = old if isinstance(old, dict) else {}
    after = new if isinstance(new, dict) else {}
    for key in before.keys() | after.keys():
        old_level = read_level(before.get(key), integers_only=integers_only)
        new_level = read_level(after.get(key), integers_only=integers_only)
        if old_level != new_level:
            yield key, old_level, new_level


def _is_above(level: int | None, sender_level: float) -> bool:
    return level is not None and level > sender_level
