"""Rooms that this server knows of without being in them: those that it was invited to, or is about to join.

Such a room has a row without state and forward extremities, to which outliers may belong.
"""

from dataclasses import dataclass, replace

from tim_server.matrix.errors import Unavailable, UnsupportedRoomVersion
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.room_versions import RoomVersion
from tim_server.services.rooms.head import RoomHead, RoomHeads
from tim_server.storage.database import Connection
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.rooms import insert_room_without_state
from tim_server.storage.store import Store
from tim_server.storage.writer import HeadMoved

ATTEMPTS_MAX = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownRooms:
    """Makes rooms known."""

    store: Store
    heads: RoomHeads

    async def know(self, room_id: RoomId, version: RoomVersion) -> RoomHead:
        """The room's head, which may be one without state. A room without forward extremities is stamped, so that it is
        not reaped soon, and takes the version that is now said of it: who invites may have told any. Raises
        `UnsupportedRoomVersion` where a room that this server has been in has another version."""
        for _ in range(ATTEMPTS_MAX):
            self.heads.forget(room_id)
            head = await self.heads.get(room_id)
            if head is None:
                (nid,) = await self.store.writer.take_nids(1)
                await self.store.writer.write(_KnowRoom(nid=nid, room_id=room_id, room_version=version.identifier))
            elif head.extremities:
                if head.version is not version:
                    raise UnsupportedRoomVersion("The room is known here with another version")
                return head
            else:
                try:
                    return await self._stamp(replace(head, version=version))
                except HeadMoved:
                    continue
        raise Unavailable("The room is changing too quickly; try again")

    async def _stamp(self, head: RoomHead) -> RoomHead:
        placed = await self.store.writer.commit_room(
            RoomCommit(
                room_nid=head.nid,
                room_id=head.room_id,
                room_version=head.version.identifier,
                expected_version=head.head_version,
                events=(),
                forward_extremities=(),
                depth=head.depth,
                snapshot=head.snapshot,
            )
        )
        stamped = replace(head, head_version=placed.last_position)
        self.heads.put(stamped)
        return stamped


@dataclass(frozen=True, slots=True, kw_only=True)
class _KnowRoom:
    nid: int
    room_id: RoomId
    room_version: str
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await insert_room_without_state(
            tx, nid=self.nid, room_id=self.room_id, room_version=self.room_version, position=position
        )
