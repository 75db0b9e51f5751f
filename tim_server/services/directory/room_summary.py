"""Summaries of rooms: what those who may find a room are told of it, read from its state.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.canonical_json import decode_lenient
from tim_server.matrix.history_visibility import HistoryVisibility, history_visibility_of
from tim_server.matrix.identifiers import RoomId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.events.client_format import content_json
from tim_server.services.rooms.authorise_join import allowed_rooms
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.room_summaries import StateBody, count_joined, load_state_bodies

SPACE = "m.space"
ACCESS_TYPES = ("m.room.create", "m.room.join_rules", "m.room.history_visibility")
"""State that says what kind of room it is, and who may find it."""
SUMMARY_TYPES = (
    *ACCESS_TYPES,
    "m.room.name",
    "m.room.topic",
    "m.room.avatar",
    "m.room.canonical_alias",
    "m.room.guest_access",
    "m.room.encryption",
)

Contents = Mapping[str, Mapping[str, Any]]
"""Contents of state events with an empty state key, by type."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomAccess:
    """What decides who may find a room. `allowed_room_ids` are those of a restricted join rule."""

    version: RoomVersion
    room_type: str | None
    join_rule: str
    allowed_room_ids: Sequence[RoomId]
    world_readable: bool

    @staticmethod
    def of(contents: Contents, version: RoomVersion) -> "RoomAccess":
        """Read it from the contents of `ACCESS_TYPES`."""
        rules = contents.get("m.room.join_rules", {})
        join_rule = _text(rules.get("join_rule")) or "invite"
        visibility = history_visibility_of(contents.get("m.room.history_visibility"))
        return RoomAccess(
            version=version,
            room_type=_text(contents.get("m.room.create", {}).get("type")),
            join_rule=join_rule,
            allowed_room_ids=allowed_rooms(rules) if join_rule in ("restricted", "knock_restricted") else (),
            world_readable=visibility is HistoryVisibility.WORLD_READABLE,
        )

    def lets_find(self, membership: str | None, joined: Collection[RoomId]) -> bool:
        """Whether somebody with this membership, who is joined to the rooms `joined`, may be told of the room.

        Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1roomsroomidhierarchy
        """
        if membership in ("join", "invite"):
            return True
        if membership == "ban":
            return False
        return self.world_readable or self._lets_in(joined)

    def _lets_in(self, joined: Collection[RoomId]) -> bool:
        """Whether the join rule lets one join or knock."""
        if self.join_rule == "public":
            return True
        if self.join_rule == "knock":
            return self.version.knock_join_rule
        if self.join_rule == "knock_restricted":
            return self.version.knock_restricted_join_rule
        is_restricted = self.join_rule == "restricted" and self.version.restricted_join_rule
        return is_restricted and any(room_id in joined for room_id in self.allowed_room_ids)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSummary:
    """What is told of a room. `room_version` None: another server tells of it, which does not say."""

    room_id: RoomId
    room_version: str | None
    joined: int
    access: RoomAccess
    guest_can_join: bool
    name: str | None
    topic: str | None
    avatar_url: str | None
    canonical_alias: str | None
    encryption: str | None

    @staticmethod
    def of(room_id: RoomId, version: RoomVersion, contents: Contents, *, joined: int) -> "RoomSummary":
        """Read it from the contents of `SUMMARY_TYPES`."""
        return RoomSummary(
            room_id=room_id,
            room_version=version.identifier,
            joined=joined,
            access=RoomAccess.of(contents, version),
            guest_can_join=contents.get("m.room.guest_access", {}).get("guest_access") == "can_join",
            name=_text(contents.get("m.room.name", {}).get("name")),
            topic=_text(contents.get("m.room.topic", {}).get("topic")),
            avatar_url=_text(contents.get("m.room.avatar", {}).get("url")),
            canonical_alias=_text(contents.get("m.room.canonical_alias", {}).get("alias")),
            encryption=_text(contents.get("m.room.encryption", {}).get("algorithm")),
        )


def _text(value: Any) -> str | None:
    """The string, unless it is empty or none at all."""
    return value if isinstance(value, str) and value else None


async def load_contents(
    tx: Connection, codec: Codec, versions: Mapping[int, RoomVersion], types: Sequence[str]
) -> dict[int, Contents]:
    """The contents of the state of these types, of each of these rooms by nid."""
    bodies = await load_state_bodies(tx, codec, list(versions), types)
    return {
        nid: {state.type: content_of(state, version) for state in bodies.get(nid, {}).values()}
        for nid, version in versions.items()
    }


def content_of(state: StateBody, version: RoomVersion) -> dict[str, Any]:
    """The content of a state event, in its redacted form where it is redacted."""
    content: dict[str, Any] = decode_lenient(content_json(state, version))
    return content


async def load_summaries(
    tx: Connection, codec: Codec, rooms: Mapping[int, tuple[RoomId, RoomVersion]]
) -> dict[int, RoomSummary]:
    """The summaries of these rooms by nid, in two queries."""
    versions = {nid: version for nid, (_, version) in rooms.items()}
    contents = await load_contents(tx, codec, versions, SUMMARY_TYPES)
    joined = await count_joined(tx, list(rooms))
    return {
        nid: RoomSummary.of(room_id, version, contents[nid], joined=joined.get(nid, 0))
        for nid, (room_id, version) in rooms.items()
    }
