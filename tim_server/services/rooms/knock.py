"""Knock on rooms, here or through other servers.

Spec: https://spec.matrix.org/v1.19/client-server-api/#knocking-on-rooms
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import RoomAlias, RoomId, ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.join import RoomJoin
from tim_server.services.rooms.kept_out import SHUT
from tim_server.services.rooms.member_content import MEMBER, load_names, member_content, membership_in
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.queue import RoomQueues
from tim_server.services.rooms.remote.knock import RemoteKnock
from tim_server.storage.blocked_rooms import is_shut
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomKnock:
    """Asks for the requester to be let in."""

    database: Database
    codec: Codec
    queues: RoomQueues
    join: RoomJoin
    remote: RemoteKnock

    async def knock(
        self, requester: Requester, room: RoomId | RoomAlias, reason: str | None, servers: Sequence[ServerName]
    ) -> RoomId:
        """Knock; who knocks already has nothing to do. The room's id. `servers` are said to be in the room, where this
        one is not. Raises `NotFound` for an unknown room or alias, `Forbidden` where the rules refuse, and what
        `RemoteKnock.knock` raises."""
        check_may_act(requester)
        room_id, servers = await self.join.resolve(room, servers)
        async with self.database.connection() as connection:
            names = await load_names(connection, self.codec, [requester.user_id])
            if await is_shut(connection, room_id):
                raise Forbidden(SHUT)
        content = member_content("knock", names=names.get(requester.user_id, {}), reason=reason)
        if await self.remote.servers.is_here(room_id):
            await self._knock_here(requester.user_id, room_id, content)
        else:
            await self.remote.knock(requester.user_id, room_id, content, servers)
        return room_id

    async def _knock_here(self, user_id: UserId, room_id: RoomId, content: dict[str, Any]) -> None:
        head = await self.queues.heads.get(room_id)
        if head is not None and not head.version.knock_join_rule:
            raise Forbidden("The room's version knows no knocking")

        def is_in_place(_sender: UserId, present: Mapping[str, Any]) -> bool:
            return membership_in(present) == "knock"

        draft = Draft(type=MEMBER, state_key=user_id, sender=user_id, content=content)
        await self.queues.submit(room_id, DraftGroup(drafts=(draft,), unless=is_in_place))
