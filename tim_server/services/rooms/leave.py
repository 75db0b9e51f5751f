"""Leave rooms, decline invites, take knocks back; and forget rooms that were left.

Spec: https://spec.matrix.org/v1.19/client-server-api/#leaving-rooms
"""

from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, NotFound, Unknown
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.member_content import MEMBER, member_content
from tim_server.services.rooms.queue import RoomQueues
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import find_room_for_user, forget_room
from tim_server.storage.writer import Writer

FORGOTTEN = "forgotten_rooms"
"""The commit log's stream for rooms that a user has forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomLeave:
    """Ends the requester's part in a room."""

    database: Database
    queues: RoomQueues

    async def leave(self, requester: Requester, room_id: RoomId, reason: str | None) -> None:
        """Leave; who has left already stays so. Raises `NotFound` for an unknown room, `Forbidden` for who was never
        in it, or is banned."""
        membership = await self._membership(requester, room_id)
        if membership == "leave":
            return
        if membership is None:
            raise Forbidden("You aren't a member of the room")
        content = member_content("leave", names={}, reason=reason)
        draft = Draft(type=MEMBER, state_key=requester.user_id, sender=requester.user_id, content=content)
        try:
            await self.queues.submit(room_id, DraftGroup(drafts=(draft,)))
        except Forbidden:
            if await self._membership(requester, room_id) != "leave":  # they may have left, or been kicked, just now
                raise

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
