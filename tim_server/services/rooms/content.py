"""What a client may put into an event, beyond what the authorisation rules ask for.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-events
"""

from typing import Any

from tim_server.matrix.errors import BadJson, InvalidParam
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, UserId

_LEVELS = ("ban", "events_default", "invite", "kick", "redact", "state_default", "users_default")
_LEVEL_MAPS = ("events", "notifications", "users")
_MEMBERSHIPS = ("ban", "invite", "join", "knock", "leave")  # no set: what clients send need not be hashable


def check_message(event_type: str, content: dict[str, Any]) -> None:
    """Raise `BadJson` for a message that no client could show."""
    if event_type == "m.room.message":
        for key in ("msgtype", "body"):
            if not isinstance(content.get(key), str):
                raise BadJson(f"{key} must be a string")


def check_state(event_type: str, state_key: str, content: dict[str, Any]) -> None:
    """Raise `BadJson` or `InvalidParam` for state of a known type that has not the form of its type."""
    if event_type == "m.room.power_levels":
        check_power_levels(content)
    elif event_type == "m.room.encryption":
        if not isinstance(content.get("algorithm"), str) or not content["algorithm"]:
            raise BadJson("algorithm must be a string: encryption can't be taken back")
    elif event_type == "m.room.member":
        if content.get("membership") not in _MEMBERSHIPS:
            raise BadJson("membership must be ban, invite, join, knock or leave")
        try:
            UserId.parse(state_key)
        except InvalidIdentifier:
            raise InvalidParam("The state key of a member must be a user ID") from None


def check_tombstone(room_id: RoomId, event_type: str, content: dict[str, Any]) -> None:
    """Raise `InvalidParam` for a tombstone that names its own room: clients would follow it for ever."""
    if event_type == "m.room.tombstone" and content.get("replacement_room") == room_id:
        raise InvalidParam("A room can't be its own replacement")


def check_power_levels(content: dict[str, Any]) -> None:
    """Raise `BadJson` unless all levels are integers, whatever the room version tolerates."""
    for key in _LEVELS:
        if key in content and not _is_level(content[key]):
            raise BadJson(f"{key} must be an integer")
    for key in _LEVEL_MAPS:
        levels = content.get(key, {})
        if not isinstance(levels, dict) or not all(map(_is_level, levels.values())):
            raise BadJson(f"{key} must be an object with integers as values")


def _is_level(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
