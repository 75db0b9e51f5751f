"""Tell of one room, to who is in it or may find it.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import RoomAlias, RoomId
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.room_summary import RoomSummary, load_summaries
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.memberships import load_joined_room_ids
from tim_server.storage.room_directory import find_alias
from tim_server.storage.room_summaries import find_rooms_for_user


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSummaries:
    """Reads summaries."""

    database: Database
    codec: Codec

    async def of(self, requester: Requester, room: RoomId | RoomAlias) -> tuple[RoomSummary, str]:
        """The summary, and the requester's membership (`leave` where there is none). Raises `NotFound` for an unknown
        room, which is not told from one that the requester may not find."""
        async with self.database.read() as tx:
            room_id = await self._room_id(tx, room)
            known = (await find_rooms_for_user(tx, [room_id], requester.user_id)).get(room_id)
            if known is None:
                raise NotFound("Room not found.")
            rooms = {known.nid: (room_id, room_version(known.room_version))}
            summary = (await load_summaries(tx, self.codec, rooms))[known.nid]
            joined = await load_joined_room_ids(tx, requester.user_id) if summary.access.allowed_room_ids else ()
        if not summary.access.lets_find(known.membership, joined):
            raise NotFound("Room not found.")
        return summary, known.membership or "leave"

    async def _room_id(self, tx: Connection, room: RoomId | RoomAlias) -> RoomId:
        if isinstance(room, RoomId):
            return room
        target = await find_alias(tx, room)
        if target is None:
            raise NotFound("Room not found.")
        return target[1]
