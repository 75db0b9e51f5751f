"""What administrators ask for: the deletion of a room, how far it is, and that nobody may come into one. Callers have
checked that the requester is an administrator; each act is audited.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tim_server.matrix.errors import NotFound, Unknown
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.blocked_rooms import RoomBlock, delete_block, find_block, put_block
from tim_server.storage.database import Connection, Database
from tim_server.storage.room_deletions import Deletion, NewDeletion, find_deletion, insert_deletion, list_deletions
from tim_server.storage.room_directory import take_names
from tim_server.storage.rooms import load_room_nid
from tim_server.storage.writer import Writer

LIMIT_MAX = 500
"""How many deletions one page holds at most."""
DELETE_ID_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionWishes:
    """`blocks`: nobody of this server may come into the room again; `purges`: what is stored of it is removed, and
    unless it `keeps_files`, also the files that nothing else refers to."""

    blocks: bool
    purges: bool
    keeps_files: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomDeletion:
    """Begins deletions, and tells of them; `carry_out.py` does the rest. `on_begun` tells it, where it is in
    this process."""

    database: Database
    writer: Writer
    now_ms: Callable[[], int]
    randomness: Callable[[int], bytes]
    on_begun: Callable[[], None] = lambda: None

    async def begin(self, admin: Requester, room_id: RoomId, wishes: DeletionWishes) -> str:
        """Have a room deleted; the id of the deletion. From now on the room takes nothing but leaves. Raises `NotFound`
        for an unknown room, unless it is to be blocked, and `Unknown` where it is being deleted already."""
        delete_id = self.randomness(DELETE_ID_BYTES).hex()
        await self.writer.write(
            _Begin(delete_id=delete_id, room_id=room_id, by=admin.user_id, wishes=wishes, now=self.now_ms())
        )
        self.on_begun()
        return delete_id

    async def find(self, delete_id: str) -> Deletion:
        """How far a deletion is; raises `NotFound`."""
        async with self.database.connection() as connection:
            deletion = await find_deletion(connection, delete_id)
        if deletion is None:
            raise NotFound("There is no such deletion")
        return deletion

    async def page(self, room_id: RoomId | None, *, before: int | None, limit: int) -> tuple[Sequence[Deletion], bool]:
        """Deletions, also of one room, the newest first, at most `LIMIT_MAX`, and whether there are more."""
        limit = min(limit, LIMIT_MAX)
        async with self.database.connection() as connection:
            found = await list_deletions(connection, room_id=room_id, before=before, limit=limit + 1)
        return found[:limit], len(found) > limit

    async def block(self, admin: Requester, room_id: RoomId) -> None:
        """Let nobody of this server into the room; who is in it stays."""
        await self.writer.write(_Block(room_id=room_id, by=admin.user_id, now=self.now_ms(), is_blocked=True))

    async def unblock(self, admin: Requester, room_id: RoomId) -> None:
        """Let users into the room again."""
        await self.writer.write(_Block(room_id=room_id, by=admin.user_id, now=self.now_ms(), is_blocked=False))

    async def find_block(self, room_id: RoomId) -> RoomBlock | None:
        """Who has blocked the room; None where nobody has."""
        async with self.database.connection() as connection:
            return await find_block(connection, room_id)


@dataclass(slots=True, kw_only=True)
class _Begin:
    """All processes forget the room's head, and so learn that it is closed."""

    delete_id: str
    room_id: RoomId
    by: UserId
    wishes: DeletionWishes
    now: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    resets: list[int] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        room_nid = await load_room_nid(tx, self.room_id)
        if room_nid is None and not self.wishes.blocks:
            raise NotFound("Unknown room")
        new = NewDeletion(
            delete_id=self.delete_id,
            room_id=self.room_id,
            requested_by=self.by,
            purges=self.wishes.purges,
            keeps_files=self.wishes.keeps_files,
            requested_ts=self.now,
            begun_position=position,
            room_nid=room_nid,
            aliases=[] if room_nid is None else await take_names(tx, room_nid),
        )
        if not await insert_deletion(tx, new):
            raise Unknown("The room is being deleted already")
        if self.wishes.blocks and await put_block(tx, self.room_id, self.by, self.now):
            await append_audit(tx, _entry(self.by, "room.block", self.room_id))
        await append_audit(tx, _entry(self.by, "room.delete", self.room_id))
        self.resets = [] if room_nid is None else [room_nid]


@dataclass(slots=True, kw_only=True)
class _Block:
    room_id: RoomId
    by: UserId
    now: int
    is_blocked: bool
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    resets: list[int] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        if self.is_blocked:
            is_changed = await put_block(tx, self.room_id, self.by, self.now)
        else:
            is_changed = await delete_block(tx, self.room_id)
        if not is_changed:
            return
        await append_audit(tx, _entry(self.by, "room.block" if self.is_blocked else "room.unblock", self.room_id))
        room_nid = await load_room_nid(tx, self.room_id)
        self.resets = [] if room_nid is None else [room_nid]


def _entry(by: UserId, action: str, room_id: RoomId) -> AuditEntry:
    return AuditEntry(actor=by, action=action, object=room_id)
