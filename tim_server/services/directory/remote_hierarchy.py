"""Spaces and rooms of which other servers tell, for the trees of spaces that this server's users look at.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any

from tim_server.egress.errors import OutgoingError
from tim_server.federation.client import FederationClient
from tim_server.federation.errors import RemoteError
from tim_server.federation.queries import query_hierarchy
from tim_server.matrix.canonical_json import CanonicalJsonError, encode_relaxed
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, ServerName
from tim_server.matrix.room_versions import ROOM_VERSIONS
from tim_server.services.directory.room_summary import RoomAccess, RoomSummary
from tim_server.services.servers.remembered import Remembered

SERVERS_ASKED_MAX = 3
CHILDREN_MAX = 1_000
LIFETIME_S = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteChild:
    """An `m.space.child` event, stripped: the room, the event's content and time, and the event as JSON."""

    room_id: RoomId
    content: Mapping[str, Any]
    origin_server_ts: int
    event: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteSpace:
    """A room as another server tells of it, with the events by which it holds others, and what it knows of these."""

    summary: RoomSummary
    children: Sequence[RemoteChild]
    rooms: Mapping[RoomId, RoomSummary]


class _NothingTold(Exception):
    """No server has told of the room; which is not remembered, as it may tell once somebody is invited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RemoteHierarchy:
    """Asks the servers through which a room can be joined; what they tell is remembered for some minutes."""

    server_name: ServerName
    client: FederationClient
    known: Remembered[tuple[RoomId, bool, tuple[ServerName, ...]], RemoteSpace] = field(
        default_factory=lambda: Remembered(lifetime_s=LIFETIME_S, answers_max=500)
    )

    async def fetch(self, room_id: RoomId, via: Sequence[ServerName], *, suggested_only: bool) -> RemoteSpace | None:
        """The room; None where no server that is asked tells of it."""
        servers = tuple(islice((name for name in via if name != self.server_name), SERVERS_ASKED_MAX))
        ask = partial(self._ask, room_id, servers, suggested_only=suggested_only)
        try:
            return await self.known.get((room_id, suggested_only, servers), ask)
        except _NothingTold:
            return None

    async def _ask(self, room_id: RoomId, servers: Sequence[ServerName], *, suggested_only: bool) -> RemoteSpace:
        for server in servers:
            try:
                answer = await query_hierarchy(self.client, server, room_id, suggested_only=suggested_only)
            except (OutgoingError, RemoteError):
                continue
            space = read_space(answer, room_id)
            if space is not None:
                return space
        raise _NothingTold


def read_space(answer: Mapping[str, Any], room_id: RoomId) -> RemoteSpace | None:
    """What an answer tells of the room that was asked for; None where that can't be read."""
    room = answer.get("room")
    summary = read_summary(room)
    if summary is None or summary.room_id != room_id or not isinstance(room, dict):
        return None
    events, children = room.get("children_state"), answer.get("children")
    rooms = [read_summary(child) for child in (children if isinstance(children, list) else [])[:CHILDREN_MAX]]
    read = [_read_child(event) for event in (events if isinstance(events, list) else [])[:CHILDREN_MAX]]
    return RemoteSpace(
        summary=summary,
        children=[child for child in read if child is not None],
        rooms={child.room_id: child for child in rooms if child is not None},
    )


def read_summary(room: Any) -> RoomSummary | None:
    """A room summary of another server; None for what is none."""
    if not isinstance(room, dict):
        return None
    allowed = room.get("allowed_room_ids")
    joined = room.get("num_joined_members")
    try:
        room_id = RoomId.parse(room["room_id"])
        allowed_room_ids = [RoomId.parse(item) for item in allowed] if isinstance(allowed, list) else []
    except (InvalidIdentifier, KeyError, TypeError, AttributeError):
        return None
    version = ROOM_VERSIONS.get(str(room.get("room_version")), ROOM_VERSIONS["1"])
    return RoomSummary(
        room_id=room_id,
        room_version=_text(room, "room_version"),
        joined=joined if isinstance(joined, int) else 0,
        access=RoomAccess(
            version=version if "room_version" in room else ROOM_VERSIONS["12"],
            room_type=_text(room, "room_type"),
            join_rule=_text(room, "join_rule") or "public",
            allowed_room_ids=allowed_room_ids,
            world_readable=room.get("world_readable") is True,
        ),
        guest_can_join=room.get("guest_can_join") is True,
        name=_text(room, "name"),
        topic=_text(room, "topic"),
        avatar_url=_text(room, "avatar_url"),
        canonical_alias=_text(room, "canonical_alias"),
        encryption=_text(room, "encryption"),
    )


def _text(room: Mapping[str, Any], key: str) -> str | None:
    value = room.get(key)
    return value if isinstance(value, str) and value else None


def _read_child(event: Any) -> RemoteChild | None:
    if not isinstance(event, dict) or event.get("type") != "m.space.child":
        return None
    content, ts, sender = event.get("content"), event.get("origin_server_ts"), event.get("sender")
    if not isinstance(content, dict) or not isinstance(ts, int) or not isinstance(sender, str):
        return None
    kept = {"type": "m.space.child", "state_key": event.get("state_key"), "content": content, "sender": sender}
    try:
        room_id = RoomId.parse(event["state_key"])
        return RemoteChild(
            room_id=room_id,
            content=content,
            origin_server_ts=ts,
            event=encode_relaxed({**kept, "origin_server_ts": ts}),
        )
    except (InvalidIdentifier, KeyError, TypeError, AttributeError, CanonicalJsonError):
        return None
