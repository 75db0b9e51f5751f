"""Leaves of users of other servers from rooms that this server is in: invites declined, knocks taken back.

Spec: https://spec.matrix.org/v1.19/server-server-api/#leaving-rooms-rejecting-invites
"""

from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.resident.member_templates import MemberTemplates
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.rooms.resident.take_over import EventTakeOver, HandedIn


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaveReceipt:
    """Gives templates of leaves, and takes leaves. Both raise `NotFound` unless this server is in the room, `Forbidden`
    where the room's access control list or its rules are against it."""

    participation: Participation
    templates: MemberTemplates
    take_over: EventTakeOver

    async def make(self, origin: ServerName, room_id: RoomId, user_id: UserId) -> tuple[RoomVersion, dict[str, Any]]:
        """The room's version, and a template for one of the origin's users."""
        if user_id.server_name != origin:
            raise Forbidden("The user is not one of your server")
        head = await self.participation.check_acl(room_id, origin)
        return head.version, await self.templates.make(head, user_id, {"membership": "leave"})

    async def receive(self, leave: HandedIn) -> None:
        """Take the leave; who sends it again has it taken as before. Raises `InvalidParam` for what is no leave of a
        user of the origin, signed and complete."""
        head = await self.participation.check_acl(leave.room_id, leave.origin)
        await self.take_over.take_over(self.take_over.read(leave, head, "leave"))
