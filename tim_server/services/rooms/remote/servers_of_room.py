"""Which servers may be asked to let a user into a room, or out of it, that this server is not in.

Spec: https://spec.matrix.org/v1.19/appendices/#routing
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import InvalidIdentifier, RoomId, ServerName, UserId
from tim_server.services.rooms.head import RoomHead, RoomHeads
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.database import Database
from tim_server.storage.outside_memberships import find_servers_of_membership

FROM_STATE_MAX = 5
"""How many of the servers that were in the room, when this one last knew of it, are thought of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServersOfRoom:
    """Finds servers to ask."""

    server_name: ServerName
    database: Database
    heads: RoomHeads
    gate: TrustGate

    async def is_here(self, room_id: RoomId) -> bool:
        """Whether this server decides about the room by itself: a user of it is joined, or nobody else is any more."""
        head = await self.heads.get(room_id)
        if head is None or not head.extremities:
            return False
        others = any(count > 0 for server, count in head.joined_servers.items() if server != self.server_name)
        return head.joined_servers.get(self.server_name, 0) > 0 or not others

    async def to_ask(self, room_id: RoomId, user_id: UserId, named: Iterable[ServerName] = ()) -> list[ServerName]:
        """The servers, those first that are likeliest to help: the ones `named`, that of who has invited the user,
        those that were in the room, that of the room's id. Raises `Forbidden` where the trust gate refuses all."""
        async with self.database.connection() as connection:
            candidates = [*named, *await find_servers_of_membership(connection, room_id, user_id)]
        candidates += _of_state(await self.heads.get(room_id))
        candidates += _of_room_id(room_id)
        found = [server for server in dict.fromkeys(candidates) if server != self.server_name]
        allowed = [s for s in found if (await self.gate.verdict(s, ChokePoint.MEMBERSHIP)).is_allowed]
        if found and not allowed:
            await self.gate.require(ChokePoint.MEMBERSHIP, found)
        return allowed


def _of_state(head: RoomHead | None) -> Sequence[ServerName]:
    joined = {} if head is None else head.joined_servers
    most = sorted((server for server, count in joined.items() if count > 0), key=lambda server: -joined[server])
    return [ServerName(server) for server in most[: FROM_STATE_MAX + 1]]


def _of_room_id(room_id: RoomId) -> Sequence[ServerName]:
    """v1–v11: a room id names the server that made the room."""
    try:
        return [ServerName.parse(room_id.server_name)]
    except InvalidIdentifier:
        return []
