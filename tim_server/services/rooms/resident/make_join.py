"""Give servers that are not in a room, or can't let a user in themselves, what they need for a join event.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1make_joinroomiduserid
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, IncompatibleRoomVersion, NotFound
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.authorise_join import authorising_user
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.member_content import AUTHORISED_VIA
from tim_server.services.rooms.resident.member_templates import MemberTemplates
from tim_server.services.rooms.resident.participation import Participation
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.rooms import load_room


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTemplate:
    """A template, and the version of its room."""

    version: RoomVersion
    event: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class RestrictedJoins:
    """Finds who of this server authorises restricted joins."""

    server_name: ServerName
    database: Database
    codec: Codec

    async def authorising(self, head: RoomHead, user_id: UserId) -> UserId | None:
        """The member who authorises a user's join, as `authorising_user`; raises what that raises."""
        async with self.database.read() as tx:
            room = await load_room(tx, head.room_id)
            if room is None:
                raise NotFound("Unknown room")
            return await authorising_user(
                tx, self.codec, room, head.version, joining=user_id, server_name=self.server_name
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinTemplates:
    """Makes templates of join events."""

    participation: Participation
    gate: TrustGate
    templates: MemberTemplates
    restricted: RestrictedJoins

    async def make(
        self, origin: ServerName, room_id: RoomId, user_id: UserId, versions: Collection[str]
    ) -> JoinTemplate:
        """A template for the join of one of the origin's users, whose server knows these room versions.

        Raises `NotFound` unless this server is in the room; `Forbidden` where the origin, by the trust gate or the
        room's access control list, or the user may not come in; `IncompatibleRoomVersion`; for restricted rooms
        `UnableToAuthoriseJoin` and `UnableToGrantJoin`.
        """
        if user_id.server_name != origin:
            raise Forbidden("The user is not one of your server")
        head = await self.participation.check_acl(room_id, origin)
        await self.gate.require(ChokePoint.MEMBERSHIP, [origin])
        if head.version.identifier not in versions:
            raise IncompatibleRoomVersion(room_version=head.version.identifier)
        content: dict[str, Any] = {"membership": "join"}
        authorised_via = await self.restricted.authorising(head, user_id)
        if authorised_via is not None:
            content[AUTHORISED_VIA] = authorised_via
        return JoinTemplate(version=head.version, event=await self.templates.make(head, user_id, content))
