"""Whether another server takes part in a room, so that it may be told of it.

Spec: https://spec.matrix.org/v1.19/server-server-api/#server-access-control-lists-acls
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.matrix.server_acls import SERVER_ACL, is_allowed_by_acl
from tim_server.services.rooms.auth_events import ParsedEvents
from tim_server.services.rooms.head import RoomHead, RoomHeads
from tim_server.services.rooms.kept_out import NOT_IN_ROOM


@dataclass(frozen=True, slots=True, kw_only=True)
class Participation:
    """Checks who asks about a room."""

    server_name: ServerName
    heads: RoomHeads
    parsed: ParsedEvents

    async def check_acl(self, room_id: RoomId, origin: ServerName) -> RoomHead:
        """The room's head, for a server that need not be in the room (which may want to join). Raises `NotFound` unless
        this server is in the room, `Forbidden` where the room's access control list denies the origin."""
        head = await self.heads.get(room_id)
        if head is None or head.joined_servers.get(self.server_name, 0) < 1:
            raise NotFound(NOT_IN_ROOM)
        await self._check_not_denied(head, origin)
        return head

    async def check_acl_then(self, room_id: RoomId, origin: ServerName) -> RoomHead:
        """As `check_acl`, and where this server has left the room, as it was then: what its users said last may have
        reached some of those who were there only, or none."""
        head = await self.heads.get(room_id)
        if head is None or not head.extremities:
            raise NotFound(NOT_IN_ROOM)
        await self._check_not_denied(head, origin)
        return head

    async def check(self, room_id: RoomId, origin: ServerName) -> RoomHead:
        """As `check_acl_then`, for what only servers in the room are told: raises `Forbidden` for others."""
        head = await self.check_acl_then(room_id, origin)
        if head.joined_servers.get(origin, 0) < 1:
            raise Forbidden("Your server is not in the room")
        return head

    async def _check_not_denied(self, head: RoomHead, origin: ServerName) -> None:
        if not is_allowed_by_acl(await self.acl_of(head), origin):
            raise Forbidden("The room's access control list denies your server")

    async def acl_of(self, head: RoomHead) -> Mapping[str, Any] | None:
        """The content of the room's access control list; None where it has none."""
        nid = head.state.get(SERVER_ACL)
        if nid is None:
            return None
        return (await self.parsed.load([nid], head.version))[nid].content
