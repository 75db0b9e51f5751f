"""Leave rooms, decline invites, take knocks back; and forget rooms that were left.

Spec: https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tim_server.matrix.errors import Forbidden, NotFound, Unknown
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.member_content import MEMBER, member_content
from tim_server.services.rooms.queue import RoomBroken, RoomQueues
from tim_server.services.rooms.remote.leave import RemoteLeave
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import find_room_for_user, forget_room
from tim_server.storage.writer import Writer

FORGOTTEN = "forgotten_rooms"
"""The commit log's stream for rooms that a user has forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLeave:
    """Ends a user's part in a room: in order where this server is in the room, else and otherwise by help of others."""

    database: Database
    queues: RoomQueues
    remote: RemoteLeave

    async def leave(self, requester: Requester, room_id: RoomId, reason: str | None) -> None:
        """Leave; who has left already stays so. Raises `NotFound` for an unknown room, `Forbidden` for who was never
        in it, or is banned."""
        membership = await self._membership(requester, room_id)
        if membership == "leave":
            return
        if membership is None:
            raise Forbidden("You aren't a member of the room")
        try:
            await self.leave_by(requester.user_id, room_id, member_content("leave", names={}, reason=reason))
        except Forbidden:
            if await self._membership(requester, room_id) != "leave":  # they may have left, or been kicked, just now
                raise

    async def leave_by(
        self,
        user_id: UserId,
        room_id: RoomId,
        content: dict[str, Any],
        unless: Callable[[UserId, dict[str, Any]], bool] | None = None,
    ) -> EventId:
        """Leave by a member event of this content, `unless` the one in place makes it needless; its id. Raises
        `NotFound` for an unknown room, `Forbidden` for who is neither joined nor invited and does not knock."""
        if not await self.remote.servers.is_here(room_id):
            return await self.remote.leave(user_id, room_id, content)
        draft = Draft(type=MEMBER, state_key=user_id, sender=user_id, content=content)
        try:
            (event_id,) = await self.queues.submit(room_id, DraftGroup(drafts=(draft,), unless=unless))
        except (Forbidden, RoomBroken) as error:
            try:
                return await self.remote.leave(user_id, room_id, content)
            except (Forbidden, NotFound):
                raise error from None
        return event_id

    async def _membership(self, requester: Requester, room_id: RoomId) -> str | None:
        async with self.database.connection() as connection:
            room = await find_room_for_user(connection, room_id, requester.user_id)
        if room is None:
            raise NotFound("Unknown room")
        return room.membership


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomForget:
    """Hides rooms that were left."""

    database: Database
    writer: Writer

    async def forget(self, requester: Requester, room_id: RoomId) -> None:
        """Forget; the room's history can't be read any more. Raises `Unknown` for who has not left, `NotFound` for an
        unknown room."""
        async with self.database.connection() as connection:
            room = await find_room_for_user(connection, room_id, requester.user_id)
        if room is None or room.membership is None:
            raise NotFound("Unknown room")
        if not room.forgotten:
            await self.writer.write(_Forget(users=(requester.user_id,), room_id=room_id))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Forget:
    users: tuple[UserId, ...]
    room_id: RoomId
    streams: tuple[str, ...] = (FORGOTTEN,)

    async def store(self, tx: Connection, position: int) -> None:
        room = await find_room_for_user(tx, self.room_id, self.users[0])
        if room is None or room.membership not in ("leave", "ban"):
            raise Unknown(f"User {self.users[0]} is in room {self.room_id}")
        await forget_room(tx, self.users[0], self.room_id, position)
