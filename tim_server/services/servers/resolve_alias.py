"""Where an alias points, of this server or of another.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directoryroomroomalias
"""

from dataclasses import dataclass, field
from functools import partial

from tim_server.federation.client import FederationClient
from tim_server.federation.queries import query_directory
from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import RoomAlias, RoomId, ServerName
from tim_server.services.servers.remembered import Remembered
from tim_server.services.servers.told import errors_told
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.database import Database
from tim_server.storage.memberships import count_joined_by_server
from tim_server.storage.room_directory import find_alias


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedAlias:
    """The room that an alias points to, and servers that are in it."""

    room_id: RoomId
    servers: tuple[ServerName, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AliasResolution:
    """Resolves aliases."""

    server_name: ServerName
    database: Database
    client: FederationClient
    gate: TrustGate
    known: Remembered[RoomAlias, ResolvedAlias] = field(default_factory=Remembered)

    async def resolve(self, alias: RoomAlias, *, is_fresh: bool = False) -> ResolvedAlias:
        """Where an alias points, or with `is_fresh` where it points now: who enters a room must not come into the one
        that had the alias before. Raises `NotFound`, and of other servers `Forbidden` and `BadGateway`."""
        if alias.server_name == self.server_name:
            return await self.resolve_own(alias)
        await self.gate.require(ChokePoint.CLIENT_REQUEST, [alias.server_name])
        async with errors_told("room alias"):
            return await self.known.get(alias, partial(self._ask, alias), is_fresh=is_fresh)

    async def resolve_own(self, alias: RoomAlias) -> ResolvedAlias:
        """Where an alias of this server points; raises `NotFound`."""
        async with self.database.read() as tx:
            found = await find_alias(tx, alias)
            if found is None:
                raise NotFound(f"Room alias {alias} not found.")
            joined = await count_joined_by_server(tx, found[0])
        others = sorted(joined.keys() - {self.server_name}, key=lambda server: -joined[server])
        return ResolvedAlias(room_id=found[1], servers=(self.server_name, *map(ServerName, others)))

    async def _ask(self, alias: RoomAlias) -> ResolvedAlias:
        room_id, servers = await query_directory(self.client, alias)
        return ResolvedAlias(room_id=room_id, servers=tuple(dict.fromkeys((*servers, alias.server_name))))
