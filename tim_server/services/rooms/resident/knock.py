"""Knocks of users of other servers on rooms that this server is in.

Spec: https://spec.matrix.org/v1.19/server-server-api/#knocking-rooms
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, IncompatibleRoomVersion
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.resident.member_templates import MemberTemplates
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.rooms.resident.take_over import EventTakeOver, HandedIn
from tim_server.services.rooms.resident.tell_state import Pdu, StateTelling
from tim_server.services.trust.gate import ChokePoint, TrustGate


@dataclass(frozen=True, slots=True, kw_only=True)
class KnockReceipt:
    """Gives templates of knocks, and takes knocks. Both raise `NotFound` unless this server is in the room, `Forbidden`
    where the trust gate, the room's access control list or its rules are against it."""

    participation: Participation
    gate: TrustGate
    templates: MemberTemplates
    take_over: EventTakeOver
    telling: StateTelling

    async def make(
        self, origin: ServerName, room_id: RoomId, user_id: UserId, versions: Collection[str]
    ) -> tuple[RoomVersion, dict[str, Any]]:
        """The room's version, and a template for one of the origin's users, whose server knows these versions; raises
        `IncompatibleRoomVersion`."""
        if user_id.server_name != origin:
            raise Forbidden("The user is not one of your server")
        head = await self.participation.check_acl(room_id, origin)
        await self.gate.require(ChokePoint.MEMBERSHIP, [origin])
        if head.version.identifier not in versions:
            raise IncompatibleRoomVersion(room_version=head.version.identifier)
        return head.version, await self.templates.make(head, user_id, {"membership": "knock"})

    async def receive(self, knock: HandedIn) -> list[Pdu]:
        """Take the knock; what the user's server is told of the room. Who sends it again gets the same. Raises
        `InvalidParam` for what is no knock of a user of the origin, signed and complete."""
        head = await self.participation.check_acl(knock.room_id, knock.origin)
        await self.gate.require(ChokePoint.MEMBERSHIP, [knock.origin])
        await self.take_over.take_over(self.take_over.read(knock, head, "knock"))
        return await self.telling.tell(head)
