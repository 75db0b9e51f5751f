"""The events of a new room, in the order that the specification gives. Pure.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType
from typing import Any

from tim_server.matrix.errors import BadAlias, BadJson
from tim_server.matrix.identifiers import InvalidIdentifier, RoomAlias, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.canonical_alias import CANONICAL_ALIAS, listed_aliases
from tim_server.services.rooms.content import check_power_levels, check_state
from tim_server.services.rooms.draft import Draft
from tim_server.services.rooms.member_content import MEMBER, member_content

CREATOR_LEVEL = 100
TOMBSTONE_LEVEL_SINCE_V12 = 150


class Preset(Enum):
    """`preset` of a request: what is set in a new room unless the creator says otherwise."""

    PRIVATE_CHAT = "private_chat"
    TRUSTED_PRIVATE_CHAT = "trusted_private_chat"
    PUBLIC_CHAT = "public_chat"


@dataclass(frozen=True, slots=True, kw_only=True)
class InitialState:
    """One state event that the creator asks for."""

    type: str
    content: dict[str, Any]
    state_key: str = ""

    @property
    def key(self) -> tuple[str, str]:
        """Type and state key."""
        return self.type, self.state_key


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRoom:
    """What a new room is to be. `names` holds display names and avatars of the creator and of who is invited. `found`
    are invited by their addresses, with no more power than that: it is only an identity server's word who they are."""

    creator: UserId
    version: RoomVersion
    preset: Preset
    creation_content: Mapping[str, Any] = field(default_factory=dict)
    initial_state: Sequence[InitialState] = ()
    name: str | None = None
    topic: str | None = None
    alias: RoomAlias | None = None
    invite: Sequence[UserId] = ()
    found: Sequence[UserId] = ()
    is_direct: bool = False
    power_level_content_override: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[UserId, Mapping[str, Any]] = field(default_factory=dict)


_PRESETS: Mapping[Preset, Mapping[str, Mapping[str, str]]] = MappingProxyType(
    {
        Preset.PRIVATE_CHAT: {
            "m.room.join_rules": {"join_rule": "invite"},
            "m.room.history_visibility": {"history_visibility": "shared"},
            "m.room.guest_access": {"guest_access": "can_join"},
        },
        Preset.TRUSTED_PRIVATE_CHAT: {
            "m.room.join_rules": {"join_rule": "invite"},
            "m.room.history_visibility": {"history_visibility": "shared"},
            "m.room.guest_access": {"guest_access": "can_join"},
        },
        Preset.PUBLIC_CHAT: {
            "m.room.join_rules": {"join_rule": "public"},
            "m.room.history_visibility": {"history_visibility": "shared"},
            "m.room.guest_access": {"guest_access": "forbidden"},
        },
    }
)


def drafts_of(room: NewRoom) -> tuple[Draft, ...]:
    """The events in order, the create event first. Raises `BadJson`, `InvalidParam` or `BadAlias` for content that no
    event may have."""
    asked = [state for state in room.initial_state if not _is_overridden(state.key, room)]
    for state in asked:
        check_state(*state.key, state.content)
        if state.type == CANONICAL_ALIAS and listed_aliases(state.content) - {room.alias}:
            raise BadAlias("A new room has no other alias than its room_alias_name")
    own_power_levels = next((s for s in asked if s.key == ("m.room.power_levels", "")), None)
    drafts = [
        _state(room, "m.room.create", create_content(room)),
        _state(room, MEMBER, member_content("join", names=room.names.get(room.creator, {})), room.creator),
        _state(room, "m.room.power_levels", own_power_levels.content if own_power_levels else power_levels(room)),
    ]
    if room.alias is not None:
        drafts.append(_state(room, CANONICAL_ALIAS, {"alias": room.alias}))
    keys = {state.key for state in asked}
    drafts += [
        _state(room, event_type, dict(content))
        for event_type, content in _PRESETS[room.preset].items()
        if (event_type, "") not in keys
    ]
    drafts += [_state(room, s.type, s.content, s.state_key) for s in asked if s is not own_power_levels]
    drafts += _described(room)
    drafts += [
        _invite(room, user_id) for user_id in dict.fromkeys((*room.invite, *room.found)) if user_id != room.creator
    ]
    return tuple(drafts)


def create_content(room: NewRoom) -> dict[str, Any]:
    """The content of the create event: what the creator gives, with the keys that the server decides on."""
    content = {key: value for key, value in room.creation_content.items() if key != "creator"}
    content["room_version"] = room.version.identifier
    if not room.version.implicit_room_creator:
        content["creator"] = room.creator
    if room.version.privileged_creators:
        creators = _additional_creators(room)
        if creators or "additional_creators" in content:
            content["additional_creators"] = creators
    return content


def _additional_creators(room: NewRoom) -> list[str]:
    """Since v12: those given, and with `trusted_private_chat` also those invited, each once."""
    given = room.creation_content.get("additional_creators", [])
    try:
        creators = [UserId.parse(user_id) for user_id in given]
    except (InvalidIdentifier, AttributeError, TypeError):
        raise BadJson("additional_creators must be a list of user IDs") from None
    if room.preset is Preset.TRUSTED_PRIVATE_CHAT:
        creators += room.invite
    return [user_id for user_id in dict.fromkeys(creators) if user_id != room.creator]


def power_levels(room: NewRoom) -> dict[str, Any]:
    """The default power levels with what the creator overrides."""
    users = {}
    if not room.version.privileged_creators:
        users[room.creator] = CREATOR_LEVEL
        if room.preset is Preset.TRUSTED_PRIVATE_CHAT:
            users |= dict.fromkeys(room.invite, CREATOR_LEVEL)
    content: dict[str, Any] = {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.power_levels": 100,
            "m.room.history_visibility": 100,
            "m.room.canonical_alias": 50,
            "m.room.avatar": 50,
            "m.room.tombstone": 100,
            "m.room.server_acl": 100,
            "m.room.encryption": 100,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 50 if room.preset is Preset.PUBLIC_CHAT else 0,
    }
    content |= room.power_level_content_override
    check_power_levels(content)
    if room.version.privileged_creators:
        content["events"] = _with_tombstone_level(content, room)
    return content


def _with_tombstone_level(content: Mapping[str, Any], room: NewRoom) -> dict[str, Any]:
    """Since v12: the level for tombstones is explicitly higher than `state_default`, unless the creator states one."""
    events = dict(content.get("events", {}))
    stated = room.power_level_content_override.get("events", {})
    if "m.room.tombstone" not in stated:
        events["m.room.tombstone"] = max(TOMBSTONE_LEVEL_SINCE_V12, content.get("state_default", 50) + 1)
    return events


def _is_overridden(key: tuple[str, str], room: NewRoom) -> bool:
    """`name` and `topic` override what `initial_state` says of them."""
    if key == ("m.room.name", ""):
        return room.name is not None
    return key == ("m.room.topic", "") and room.topic is not None


def _described(room: NewRoom) -> list[Draft]:
    drafts = []
    if room.name is not None:
        drafts.append(_state(room, "m.room.name", {"name": room.name}))
    if room.topic is not None:
        text = [{"body": room.topic, "mimetype": "text/plain"}]
        drafts.append(_state(room, "m.room.topic", {"topic": room.topic, "m.topic": {"m.text": text}}))
    return drafts


def _invite(room: NewRoom, user_id: UserId) -> Draft:
    content = member_content("invite", names=room.names.get(user_id, {}))
    if room.is_direct:
        content["is_direct"] = True
    return _state(room, MEMBER, content, user_id)


def _state(room: NewRoom, event_type: str, content: dict[str, Any], state_key: str = "") -> Draft:
    return Draft(type=event_type, state_key=state_key, sender=room.creator, content=content)
