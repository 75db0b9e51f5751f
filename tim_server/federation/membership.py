"""Asking a server in a room for the template of a user's own member event: the first half of joining, knocking and
leaving from outside.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from tim_server.federation.client import FederationClient, Query, RequestBounds, path_of
from tim_server.federation.errors import RemoteError
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.matrix.room_versions import ROOM_VERSIONS

TEMPLATE_BOUNDS = RequestBounds(timeout_s=20.0, size_bytes_max=256 * 1024)
Verb = Literal["join", "knock", "leave"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """What a server answers: the room's version as it says, and an event without hashes and signatures. Nothing of it
    is checked."""

    room_version: str
    event: Mapping[str, Any]


async def make_member_event(
    client: FederationClient, destination: ServerName, verb: Verb, room_id: RoomId, user_id: UserId
) -> Template:
    """`GET /_matrix/federation/v1/make_join/{roomId}/{userId}`, and the same for `make_knock` and `make_leave`.

    Raises `RemoteError` and what `egress` raises.
    """
    query: Query | None = None if verb == "leave" else {"ver": [*ROOM_VERSIONS]}
    path = path_of(f"/_matrix/federation/v1/make_{verb}/{{}}/{{}}", room_id, user_id)
    answer = await client.get(destination, path, query, bounds=TEMPLATE_BOUNDS)
    version, event = answer.get("room_version", "1"), answer.get("event")
    if not isinstance(version, str) or not isinstance(event, dict):
        raise RemoteError.malformed(destination, "the answer holds no template")
    return Template(room_version=version, event=event)
