"""Removing what is stored of a room that everybody has left: first the room itself, so that nobody finds it any more,
then what belongs to it, in steps, each committed with how far it has come.
"""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.identifiers import ServerName, UserId
from tim_server.matrix.media_references import media_named_in
from tim_server.services.rooms.deletion.forget import TellDeleted
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.clock import NIDS_PER_BLOCK
from tim_server.storage.database import Connection
from tim_server.storage.former_rooms import count_former, part_with
from tim_server.storage.media_references import NamedBy, note_media
from tim_server.storage.room_deletions import Deletion, advance, finish, note_purged
from tim_server.storage.room_purge import purge_events, purge_of_users, purge_rows
from tim_server.storage.rooms import load_head_version, load_room_nid
from tim_server.storage.store import Store

NAMES_AT_ONCE = 10_000

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class RoomPurge:
    """Removes rooms."""

    server_name: ServerName
    store: Store
    now_ms: Callable[[], int]

    async def step(self, deletion: Deletion) -> None:
        """Remove some; where nothing is left, go on with the files."""
        assert deletion.room_nid is not None
        if await self._part_with(deletion):
            await self.store.writer.write(TellDeleted(room_nid=deletion.room_nid, is_purged=False))
        elif await self._is_purged(deletion, deletion.room_nid):
            # Also as a process that has parted with the room may have ended before it told so.
            await self.store.writer.write(TellDeleted(room_nid=deletion.room_nid, is_purged=True))
            async with self.store.database.transaction() as tx:
                await advance(tx, deletion.nid, "sifting", now=self.now_ms())

    async def finish(self, deletion: Deletion) -> None:
        """All is done. The room may be entered again, unless it is blocked."""
        await self.store.writer.write(_Finish(deletion=deletion, now=self.now_ms()))
        log.info(
            "a room was deleted",
            delete_id=deletion.delete_id,
            room_id=deletion.room_id,
            left=deletion.left_count,
            events=deletion.events_deleted,
            files=deletion.files_deleted,
        )

    async def _part_with(self, deletion: Deletion) -> bool:
        """Take the room out of `rooms`; False where it is."""
        assert deletion.room_nid is not None
        async with self.store.database.connection() as connection:
            if await load_head_version(connection, deletion.room_nid) is None:
                return False
            count = await count_former(connection, deletion.room_nid, self.server_name)
        nids = await self._nids(1 + count)
        async with self.store.database.transaction() as tx:
            return await part_with(tx, deletion, self.server_name, nids[0], nids[1:])

    async def _nids(self, count: int) -> list[int]:
        nids: list[int] = []
        while len(nids) < count:
            nids += await self.store.writer.take_nids(min(count - len(nids), NIDS_PER_BLOCK))
        return nids

    async def _is_purged(self, deletion: Deletion, room_nid: int) -> bool:
        async with self.store.database.transaction() as tx:
            events = await purge_events(tx, room_nid)
            if events and not deletion.keeps_files:
                named = self._named_in(events)
                while some := await asyncio.to_thread(next, named, None):
                    await note_media(tx, deletion.nid, some)
            more = await purge_rows(tx, room_nid) or bool(events)
            walked = deletion.walked_user
            if not more:
                last = await purge_of_users(tx, room_nid, deletion.room_id, after=walked)
                more, walked = last is not None, last or walked
            await note_purged(tx, deletion.nid, events=len(events), walked_user=walked)
        return not more

    def _named_in(self, events: Iterable[tuple[UserId, bytes]]) -> Iterator[set[NamedBy]]:
        """The files that sealed events name, some at a time, as an event may name thousands; those of this server by
        its name, however it is written."""
        own, named = self.server_name, set[NamedBy]()
        for sender, body in events:
            found = media_named_in(self.store.codec.decode_readable(body))
            named |= {NamedBy(own if name.lower() == own.lower() else name, each, sender) for name, each in found}
            if len(named) >= NAMES_AT_ONCE:
                yield named
                named = set()
        yield named


@dataclass(slots=True, kw_only=True)
class _Finish:
    """All processes forget the head of what is left of the room, and so learn that it is no longer closed."""

    deletion: Deletion
    now: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()
    resets: list[int] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        deletion = self.deletion
        if await finish(tx, deletion.nid, now=self.now):
            action = "room.purged" if deletion.purges else "room.shut_down"
            await append_audit(tx, AuditEntry(actor=deletion.requested_by, action=action, object=deletion.room_id))
        room_nid = await load_room_nid(tx, deletion.room_id)
        self.resets = [] if room_nid is None else [room_nid]
