"""Tell of one room, to who is in it or may find it. Of a room that this server is not in, others are asked.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv1room_summaryroomidoralias
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.identifiers import RoomAlias, RoomId, ServerName, UserId
from tim_server.matrix.room_versions import room_version
from tim_server.services.accounts.requester import Requester
from tim_server.services.directory.remote_hierarchy import RemoteHierarchy
from tim_server.services.directory.room_summary import RoomSummary, load_summaries
from tim_server.services.servers.resolve_alias import AliasResolution
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.codec import Codec
from tim_server.storage.database import Database
from tim_server.storage.memberships import load_joined_room_ids
from tim_server.storage.room_servers import find_rooms_with
from tim_server.storage.room_summaries import find_rooms_for_user

VIA_MAX = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomSummaries:
    """Reads summaries."""

    server_name: ServerName
    database: Database
    codec: Codec
    remote: RemoteHierarchy
    aliases: AliasResolution
    gate: TrustGate

    async def of(
        self, requester: Requester, room: RoomId | RoomAlias, via: Sequence[ServerName] = ()
    ) -> tuple[RoomSummary, str]:
        """The summary, and the requester's membership (`leave` where there is none). `via` are servers to ask for a
        room that this one is not in.

        Raises `NotFound` for an unknown room, which is not told from one that the requester may not find; `Forbidden`
        where the trust gate refuses all servers to ask, or the alias's; `BadGateway` where that can't be asked.
        """
        room_id, servers = await self._where(room)
        summary, membership = await self._known(room_id, requester.user_id)
        if summary is None:
            summary = await self._told_by_others(room_id, [*via, *servers])
        async with self.database.read() as tx:
            allowed = summary.access.allowed_room_ids
            joined = await load_joined_room_ids(tx, requester.user_id) if allowed else ()
        if not summary.access.lets_find(membership, joined):
            raise NotFound("Room not found.")
        return summary, membership or "leave"

    async def _where(self, room: RoomId | RoomAlias) -> tuple[RoomId, Sequence[ServerName]]:
        """The room, and servers that may know of it."""
        if isinstance(room, RoomAlias):
            resolved = await self.aliases.resolve(room)
            return resolved.room_id, resolved.servers
        return room, (room.server_name,) if ":" in room else ()

    async def _known(self, room_id: RoomId, user_id: UserId) -> tuple[RoomSummary | None, str | None]:
        """What this server knows itself, if it is in the room, and the user's membership."""
        async with self.database.read() as tx:
            known = (await find_rooms_for_user(tx, [room_id], user_id)).get(room_id)
            if known is None:
                return None, None
            if not await find_rooms_with(tx, self.server_name, [known.nid]):
                return None, known.membership
            rooms = {known.nid: (room_id, room_version(known.room_version))}
            return (await load_summaries(tx, self.codec, rooms))[known.nid], known.membership

    async def _told_by_others(self, room_id: RoomId, servers: Sequence[ServerName]) -> RoomSummary:
        asked = [name for name in dict.fromkeys(servers) if name != self.server_name][:VIA_MAX]
        refused = await self.gate.refused(ChokePoint.CLIENT_REQUEST, asked)
        if asked and len(refused) == len(asked):
            raise Forbidden("The servers to ask are not part of the federation of this server")
        told = await self.remote.fetch(room_id, [name for name in asked if name not in refused], suggested_only=False)
        if told is None:
            raise NotFound("Room not found.")
        return told.summary
