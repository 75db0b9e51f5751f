"""Who may ask about a room's history: servers in the room, and for what they could see then, servers that have left."""

from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.services.events.server_visibility import AskingServer
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.resident.participation import Participation
from tim_server.storage.database import Database
from tim_server.storage.room_servers import has_ever_joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A room, and the server that asks about it."""

    head: RoomHead
    asking: AskingServer


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Admits servers. Both raise `NotFound` unless this server is in the room, or was: then they who were there with it
    are told what it knew. Both raise `Forbidden`."""

    participation: Participation
    database: Database

    async def to_room(self, room_id: RoomId, origin: ServerName) -> Admitted:
        """For what only servers in the room are told."""
        return _admitted(await self.participation.check(room_id, origin), origin)

    async def to_history(self, room_id: RoomId, origin: ServerName) -> Admitted:
        """For what a server that has left may still be told, as far as it could see it."""
        head = await self.participation.check_acl_then(room_id, origin)
        admitted = _admitted(head, origin)
        if not admitted.asking.is_joined:
            async with self.database.connection() as tx:
                if not await has_ever_joined(tx, head.nid, origin):
                    raise Forbidden("Your server is not in the room")
        return admitted


def _admitted(head: RoomHead, origin: ServerName) -> Admitted:
    is_joined = head.joined_servers.get(origin, 0) > 0
    asking = AskingServer(name=origin, room_nid=head.nid, is_joined=is_joined, state=head.state)
    return Admitted(head=head, asking=asking)
