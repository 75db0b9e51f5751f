"""A space and its children, as other servers are told of them.

Spec: https://spec.matrix.org/v1.19/server-server-api/#get_matrixfederationv1hierarchyroomid
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import RoomId, ServerName
from tim_server.matrix.room_versions import room_version
from tim_server.services.directory.hierarchy import children_by_room
from tim_server.services.directory.room_summary import (
    ACCESS_TYPES,
    SPACE,
    RoomAccess,
    RoomSummary,
    load_contents,
    load_summaries,
)
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.room_servers import find_rooms_with
from tim_server.storage.room_summaries import KnownRoom, find_rooms_for_server, load_child_bodies

CHILDREN_MAX = 200
"""How many children of a space are told of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SpaceForServer:
    """The space with its `m.space.child` events; the children that the other server may find, and those that it may
    not."""

    summary: RoomSummary
    events: Sequence[bytes]
    children: Sequence[RoomSummary]
    inaccessible: Sequence[RoomId]


@dataclass(frozen=True, slots=True, kw_only=True)
class HierarchyForServers:
    """Tells other servers of spaces."""

    server_name: ServerName
    database: Database
    codec: Codec

    async def of(self, origin: ServerName, room_id: RoomId, *, suggested_only: bool) -> SpaceForServer:
        """The room and its children; raises `NotFound` unless a user of the origin could find or join it."""
        async with self.database.read() as tx:
            root = (await self._found(tx, origin, [room_id]))[0].get(room_id)
            if root is None:
                raise NotFound("There is no such room, or none for your server")
            versions = {root.nid: room_version(root.room_version)}
            summary = (await load_summaries(tx, self.codec, {root.nid: (room_id, versions[root.nid])}))[root.nid]
            spaces = [root.nid] if summary.access.room_type == SPACE else []
            bodies = await load_child_bodies(tx, self.codec, spaces, per_room_max=CHILDREN_MAX, limit=CHILDREN_MAX)
            children = (await children_by_room(bodies, versions, suggested_only=suggested_only)).get(root.nid, [])
            children.sort(key=lambda child: child.order)
            found, hidden = await self._found(tx, origin, [child.room_id for child in children])
            rooms = {room.nid: (room.room_id, room_version(room.room_version)) for room in found.values()}
            summaries = await load_summaries(tx, self.codec, rooms)
        return SpaceForServer(
            summary=summary,
            events=[child.event for child in children],
            children=[summaries[found[c.room_id].nid] for c in children if c.room_id in found],
            inaccessible=hidden,
        )

    async def _found(
        self, tx: Connection, origin: ServerName, room_ids: Sequence[RoomId]
    ) -> tuple[dict[RoomId, KnownRoom], list[RoomId]]:
        """Of the rooms that this server is in, those that a user of the origin may find, and the others."""
        rooms = (await find_rooms_for_server(tx, room_ids, origin)).values()
        versions = {room.nid: room_version(room.room_version) for room in rooms}
        present = await find_rooms_with(tx, self.server_name, list(versions))
        contents = await load_contents(tx, self.codec, versions, ACCESS_TYPES)
        known = [room for room in rooms if room.nid in present]
        access = {room.nid: RoomAccess.of(contents[room.nid], versions[room.nid]) for room in known}
        allowed = {allowed_id for each in access.values() for allowed_id in each.allowed_room_ids}
        letting = await find_rooms_for_server(tx, allowed, origin) if allowed else {}
        joined = {room.room_id for room in letting.values() if room.membership == "join"}
        found = {room.room_id: room for room in known if access[room.nid].lets_find(room.membership, joined)}
        return found, [room.room_id for room in known if room.room_id not in found]
