"""What an upgrade sends: the events of the room that replaces another, and those that close the other. Pure.

Spec: https://spec.matrix.org/v1.19/client-server-api/#room-upgrades
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.canonical_json import CanonicalJsonError, encode
from tim_server.matrix.event_auth.power_levels import CREATOR_LEVEL, LEVEL_PROPERTIES, read_level
from tim_server.matrix.identifiers import EventId, RoomAlias, RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.canonical_alias import CANONICAL_ALIAS, listed_aliases
from tim_server.services.rooms.draft import Draft
from tim_server.services.rooms.member_content import MEMBER, member_content

CREATE = "m.room.create"
POWER_LEVELS = "m.room.power_levels"
JOIN_RULES = "m.room.join_rules"
TOMBSTONE = "m.room.tombstone"
CHILD = "m.space.child"

COPIED = (
    JOIN_RULES,
    "m.room.history_visibility",
    "m.room.guest_access",
    "m.room.encryption",
    "m.room.server_acl",
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.related_groups",
)
"""State with an empty state key that is taken over as it is; power levels and aliases are taken over with changes."""

KEPT_OF_CREATE = ("type", "m.federate")
LEVEL_MAPS = ("events", "notifications", "users")
CLOSED_LEVEL = 50
LEVEL_MAX = 2**53 - 1

StateKey = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OldRoom:
    """The room to be replaced: contents of its state, its creators, who is banned and why, its local aliases."""

    room_id: RoomId
    version: RoomVersion
    contents: Mapping[StateKey, Mapping[str, Any]]
    creators: frozenset[str] = frozenset()
    bans: Mapping[UserId, str | None] = field(default_factory=dict)
    aliases: frozenset[RoomAlias] = frozenset()

    def content(self, event_type: str) -> Mapping[str, Any] | None:
        """The content of the state with an empty state key; None where it is not set."""
        return self.contents.get((event_type, ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """The new room. `names` are display name and avatar of its creator; `last_event` the old room's."""

    version: RoomVersion
    creator: UserId
    names: Mapping[str, Any]
    additional_creators: Sequence[UserId]
    last_event: EventId


def replacement_drafts(old: OldRoom, new: Replacement, *, with_power_until_the_end: bool = False) -> tuple[Draft, ...]:
    """The new room's events. `with_power_until_the_end`: its creator has all power until everything is in place, and
    what the old room gives them only then."""
    levels = _power_levels(old, new)
    begins = _while_creating(levels, new.creator) if levels is not None and with_power_until_the_end else levels
    states: list[tuple[StateKey, Mapping[str, Any] | None]] = [
        ((CREATE, ""), _create_content(old, new)),
        ((MEMBER, new.creator), member_content("join", names=new.names)),
        ((POWER_LEVELS, ""), begins),
        ((CANONICAL_ALIAS, ""), _moved_aliases(old)),
        ((JOIN_RULES, ""), _join_rules(old, new.version)),
    ]
    states += [((name, ""), content) for name in COPIED if name != JOIN_RULES and (content := old.content(name))]
    states += [(key, content) for key, content in old.contents.items() if key[0] == CHILD and content.get("via")]
    states += [((MEMBER, user), member_content("ban", names={}, reason=reason)) for user, reason in old.bans.items()]
    if begins is not levels:
        states.append(((POWER_LEVELS, ""), levels))
    return tuple(
        Draft(type=key[0], state_key=key[1], sender=new.creator, content=dict(content))
        for key, content in states
        if content is not None and (key[0] in (CREATE, MEMBER) or _may_be_sent(content))
    )


def closing_drafts(old: OldRoom, replacement: RoomId, sender: UserId) -> tuple[Draft, ...]:
    """The old room's last events: the tombstone, then what need not succeed: the canonical alias less the aliases that
    move, and power levels with which only moderators write and invite."""
    contents = {
        TOMBSTONE: {"body": "This room has been replaced", "replacement_room": replacement},
        CANONICAL_ALIAS: _left_aliases(old),
        POWER_LEVELS: _closed_levels(old),
    }
    return tuple(
        Draft(type=event_type, state_key="", sender=sender, content=content)
        for event_type, content in contents.items()
        if content is not None
    )


def _create_content(old: OldRoom, new: Replacement) -> dict[str, Any]:
    created = old.content(CREATE) or {}
    content: dict[str, Any] = {key: created[key] for key in KEPT_OF_CREATE if key in created}
    content["room_version"] = new.version.identifier
    content["predecessor"] = {"room_id": old.room_id, "event_id": new.last_event}
    if not new.version.implicit_room_creator:
        content["creator"] = new.creator
    creators = kept_creators(new.version, new.creator, new.additional_creators)
    return content | ({"additional_creators": creators} if creators else {})


def kept_creators(version: RoomVersion, creator: UserId, additional: Sequence[UserId]) -> list[UserId]:
    """Those whom the create event of the new room lists as creators besides its sender."""
    return [u for u in dict.fromkeys(additional) if u != creator] if version.privileged_creators else []


def _power_levels(old: OldRoom, new: Replacement) -> dict[str, Any] | None:
    """The old room's levels, as integers. Since v12 creators are not listed, because nothing limits their power; whose
    power came from that gets a level where the new version has no such creators."""
    present = old.content(POWER_LEVELS)
    if present is None:
        return None
    content = _with_integers(present)
    users = content.get("users", {})
    if old.version.privileged_creators and not new.version.privileged_creators:
        highest = max([CREATOR_LEVEL, *_levels_in(content)])
        users = users | dict.fromkeys(old.creators, highest)
    if new.version.privileged_creators:
        creators = {new.creator, *new.additional_creators}
        users = {user_id: level for user_id, level in users.items() if user_id not in creators}
    return content | {"users": users}


def _while_creating(levels: Mapping[str, Any], creator: UserId) -> dict[str, Any]:
    """The levels with the creator alone above everything that they ask for."""
    above = min(max([CREATOR_LEVEL, *_levels_in(levels)]) + 1, LEVEL_MAX)
    return {**levels, "users": {creator: above}}


def _with_integers(content: Mapping[str, Any]) -> dict[str, Any]:
    """Power levels without what is no level, and with those that are strings as integers."""
    levels: dict[str, Any] = {
        key: level
        for key in LEVEL_PROPERTIES
        if (level := read_level(content.get(key), integers_only=False)) is not None
    }
    for key in LEVEL_MAPS:
        named = content.get(key)
        if isinstance(named, dict):
            read = ((name, read_level(value, integers_only=False)) for name, value in named.items())
            levels[key] = {name: level for name, level in read if level is not None}
    others = {key: value for key, value in content.items() if key not in LEVEL_PROPERTIES and key not in LEVEL_MAPS}
    return {**others, **levels}


def _levels_in(content: Mapping[str, Any]) -> list[int]:
    """All levels that power levels with integers state."""
    named = [level for key in ("events", "users") for level in content.get(key, {}).values()]
    return named + [content[key] for key in LEVEL_PROPERTIES if key in content]


def _join_rules(old: OldRoom, version: RoomVersion) -> dict[str, Any] | None:
    """The old room's join rule, or where the version does not know it the nearest that lets in nobody else."""
    present = old.content(JOIN_RULES)
    if present is None:
        return None
    rule = present.get("join_rule")
    if rule == "knock_restricted" and not version.knock_restricted_join_rule:
        rule = "restricted"
    if rule == "restricted" and not version.restricted_join_rule:
        rule = "invite"
    if rule == "knock" and not version.knock_join_rule:
        rule = "invite"
    return {**present, "join_rule": rule}


def _moved_aliases(old: OldRoom) -> dict[str, Any] | None:
    """The canonical alias event of the new room: what that of the old one lists of the aliases that move."""
    content = old.content(CANONICAL_ALIAS) or {}
    moved = listed_aliases(dict(content), lenient=True) & old.aliases
    return _alias_content(content, moved) if moved else None


def _left_aliases(old: OldRoom) -> dict[str, Any] | None:
    """The canonical alias event of the old room: what is left; None where nothing moves."""
    content = old.content(CANONICAL_ALIAS) or {}
    listed = listed_aliases(dict(content), lenient=True)
    return _alias_content(content, listed - old.aliases) if listed & old.aliases else None


def _alias_content(content: Mapping[str, Any], kept: set[str]) -> dict[str, Any]:
    alias, others = content.get("alias"), [other for other in content.get("alt_aliases") or () if other in kept]
    return ({"alias": alias} if alias in kept else {}) | ({"alt_aliases": others} if others else {})


def _closed_levels(old: OldRoom) -> dict[str, Any] | None:
    """The old room's power levels, with `events_default` and `invite` at what only moderators have."""
    present = old.content(POWER_LEVELS)
    if present is None:
        return None
    content = _with_integers(present)
    closed = max(CLOSED_LEVEL, content.get("users_default", 0) + 1)
    raised = {key: max(closed, content.get(key, 0)) for key in ("events_default", "invite")}
    return content | raised


def _may_be_sent(content: Mapping[str, Any]) -> bool:
    """Whether newer room versions take the content; older ones let in floats and any integer."""
    try:
        encode(content)
    except CanonicalJsonError:
        return False
    return True
