"""The public directories of other servers, as their users' clients ask for them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#public-room-directory
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.federation.client import FederationClient
from tim_server.federation.queries import query_public_rooms
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, ServerName
from tim_server.services.directory.public_rooms import PublicRoomsQuery
from tim_server.services.servers.told import errors_told
from tim_server.services.trust.gate import ChokePoint, TrustGate


@dataclass(frozen=True, slots=True, kw_only=True)
class RemotePublicRooms:
    """Asks other servers for pages of their directories; `page_rooms_max` bounds a page."""

    client: FederationClient
    gate: TrustGate
    page_rooms_max: int

    async def page(self, server_name: ServerName, query: PublicRoomsQuery) -> bytes:
        """The response body; raises `NotFound`, `Forbidden`, `BadGateway`. Of what the other server says of a room all
        is passed on, if it has a room id and a count of members."""
        await self.gate.require(ChokePoint.CLIENT_REQUEST, [server_name])
        limit = min(query.limit or self.page_rooms_max, self.page_rooms_max)
        body: dict[str, Any] = {"limit": limit}
        if query.since is not None:
            body["since"] = query.since
        if query.is_filtered:
            wanted = {"generic_search_term": query.search_term, "room_types": query.room_types}
            body["filter"] = {name: value for name, value in wanted.items() if value is not None}
        if query.third_party_instance_id is not None:
            body["third_party_instance_id"] = query.third_party_instance_id
        async with errors_told("directory"):
            answer = await query_public_rooms(self.client, server_name, body)
        return encode_relaxed(_passed_on(answer, limit))


def _passed_on(answer: Mapping[str, Any], limit: int) -> dict[str, Any]:
    chunk = answer.get("chunk")
    rooms = [room for room in chunk if _is_room(room)][:limit] if isinstance(chunk, list) else []
    total = answer.get("total_room_count_estimate")
    told: dict[str, Any] = {
        "chunk": rooms,
        "total_room_count_estimate": total if isinstance(total, int) else len(rooms),
    }
    told |= {key: answer[key] for key in ("next_batch", "prev_batch") if isinstance(answer.get(key), str)}
    return told


def _is_room(room: Any) -> bool:
    if not isinstance(room, dict) or not isinstance(room.get("num_joined_members"), int):
        return False
    try:
        RoomId.parse(room["room_id"])
    except (InvalidIdentifier, KeyError, AttributeError, TypeError):
        return False
    return isinstance(room.get("world_readable"), bool) and isinstance(room.get("guest_can_join"), bool)
