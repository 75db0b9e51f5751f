"""Whether the public directory lists a room.

Spec: https://spec.matrix.org/v1.19/client-server-api/#published-room-directory
"""

from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.identifiers import RoomId
from tim_server.services.accounts.requester import Requester
from tim_server.services.rooms.canonical_alias import CANONICAL_ALIAS
from tim_server.services.rooms.permission import check_may_act
from tim_server.services.rooms.power import may_send_state
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.room_directory import is_published, set_published
from tim_server.storage.rooms import load_room


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPublication:
    """Lists rooms in the public directory."""

    database: Database
    codec: Codec

    async def is_published(self, room_id: RoomId) -> bool:
        """Whether the room is listed; raises `NotFound` for an unknown room."""
        async with self.database.read() as tx:
            room = await load_room(tx, room_id)
            if room is None:
                raise NotFound("Unknown room")
            return await is_published(tx, room.nid)

    async def set_published(self, requester: Requester, room_id: RoomId, *, published: bool) -> None:
        """List the room or take it out. Raises `NotFound`, and `Forbidden` unless the requester is an administrator or
        may set the room's canonical alias."""
        check_may_act(requester)
        async with self.database.transaction() as tx:
            room = await load_room(tx, room_id)
            if room is None:
                raise NotFound("Unknown room")
            may_set = await may_send_state(tx, self.codec, room.nid, requester.user_id, CANONICAL_ALIAS)
            if not (may_set or requester.is_admin):
                raise Forbidden("You may not change whether the directory lists the room")
            await set_published(tx, room.nid, published=published)
