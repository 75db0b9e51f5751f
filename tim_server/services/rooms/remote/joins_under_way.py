"""Joins through other servers that are under way: as soon as the server that lets the user in has taken the join, all
servers in the room send what happens there, and do so once. Until the state has been taken in, that waits.

Spec: https://spec.matrix.org/v1.19/server-server-api/#joining-rooms
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.errors import Forbidden, MatrixError
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.services.rooms.kept_out import SHUT
from tim_server.storage.blocked_rooms import is_shut
from tim_server.storage.database import Connection
from tim_server.storage.joins_under_way import delete_join, is_join_under_way, put_join
from tim_server.storage.store import Store
from tim_server.storage.waiting_pdus import WAITING, hasten_room

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinsUnderWay:
    """Notes them for all processes; `lasts_s` bounds how long a join takes."""

    store: Store
    now_ms: Callable[[], int]
    lasts_s: float

    async def check_open(self, room_id: RoomId) -> None:
        """Raise `Forbidden` where an administrator is deleting the room or has blocked it."""
        async with self.store.database.connection() as connection:
            if await is_shut(connection, room_id):
                raise Forbidden(SHUT)

    async def begin(self, room_id: RoomId, room_nid: int) -> None:
        """A join to the room begins. Raises `Forbidden` where an administrator is deleting or has blocked it."""
        now_ms = self.now_ms()
        async with self.store.database.transaction() as tx:
            if await is_shut(tx, room_id):
                raise Forbidden(SHUT)
            await put_join(tx, room_nid, until_ts=now_ms + int(self.lasts_s * 1000), now_ms=now_ms)

    async def succeeded(self, room_nid: int) -> None:
        """This server is in the room: have taken in what waits for that. Where that fails, it is taken in later."""
        try:
            await self.store.writer.write(_Entered(room_nid=room_nid, now_ms=self.now_ms()))
        except MatrixError as error:
            log.info("what came during a join is taken in later", room_nid=room_nid, errcode=error.errcode)

    async def is_under_way(self, room_id: RoomId) -> bool:
        """Whether this server may be about to come into the room."""
        async with self.store.database.connection() as connection:
            return await is_join_under_way(connection, room_id, self.now_ms())


@dataclass(slots=True, kw_only=True)
class _Entered:
    room_nid: int
    now_ms: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    servers: Mapping[ServerName, frozenset[str]] = field(default_factory=dict)

    async def store(self, tx: Connection, position: int) -> None:
        await delete_join(tx, self.room_nid)
        self.servers = dict.fromkeys(await hasten_room(tx, self.room_nid, self.now_ms), frozenset({WAITING}))
