"""Carrying out the deletion of rooms: one process does, step by step. Each step is committed with what it changes, so
that whoever goes on after a crash does so where it was.

Local users leave in order, which other servers are told, and those who sync. Each leave moves the room's head, so that
what a process decided before it knew that the room is closed is decided again. The purge waits for that, not for ever;
it also waits for a join that was under way when the room was closed.
"""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import RoomId, ServerName, UserId
from tim_server.services.media.unreferenced import UnreferencedMedia
from tim_server.services.rooms.deletion.purge import RoomPurge
from tim_server.services.rooms.leave import RoomLeave
from tim_server.services.rooms.member_content import member_content
from tim_server.storage.commit_log import read_newest_position
from tim_server.storage.election import Tenure
from tim_server.storage.former_rooms import find_members_to_leave, forget_some, is_anything_owed
from tim_server.storage.joins_under_way import is_join_under_way
from tim_server.storage.media_references import has_noted
from tim_server.storage.room_deletions import (
    Deletion,
    advance,
    load_due,
    note_all_left,
    note_attempt,
    note_left,
)
from tim_server.storage.store import Store

DUE_MAX = 20
LEAVES_PER_STEP = 100
LEAVES_AT_ONCE = 20
LEAVE_ATTEMPTS_MAX = 10
"""After so many attempts in a row in which nobody could leave, the room is deleted with members in it. Each tries more
of them, so that those who can't leave keep nobody else in."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeletionOptions:
    """How often one looks what is due; the pause while a deletion waits, and after an attempt in vain: twice as long
    with each further one, and at most; for how long other servers are waited for; and how long former members are kept,
    so that they are told."""

    look_interval_s: float = 1.0
    wait_s: float = 0.5
    pause_s: float = 0.5
    pause_s_max: float = 60.0
    told_within_s: float = 600.0
    kept_s: float = 30 * 86_400.0


@dataclass(slots=True, kw_only=True)
class DeletionWork:
    """`run` in one process; each does what the next would do over. `_is_searching`: the search for files goes on."""

    server_name: ServerName
    store: Store
    leaving: RoomLeave
    purge: RoomPurge
    files: UnreferencedMedia
    now_ms: Callable[[], int]
    options: DeletionOptions = field(default_factory=DeletionOptions)
    _is_searching: bool = False
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, _tenure: Tenure) -> None:
        """Carry out what is due until cancelled."""
        self.files.restart()
        while True:
            self._begun.clear()
            if not await self.step_all():
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.options.look_interval_s):
                        await self._begun.wait()

    def look(self) -> None:
        """A deletion has begun in this process: others are noticed within `look_interval_s`."""
        self._begun.set()

    async def step_all(self) -> bool:
        """A step of each deletion that is due, and of the search for files; False where there was nothing to do."""
        async with self.store.database.connection() as connection:
            due = await load_due(connection, self.now_ms(), limit=DUE_MAX)
        for deletion in due:
            try:
                await self._step(deletion)
            except Exception as error:
                _warn("a step of a room's deletion failed and will be tried again", error, delete_id=deletion.delete_id)
                await self._put_off(deletion, type(error).__name__)
        if self._is_searching or any(deletion.status == "sifting" for deletion in due):
            self._is_searching = await self._search()
        return self._is_searching or bool(due)

    async def _search(self) -> bool:
        """Some of the search for what refers to files of purged rooms, of which there is one for all deletions."""
        try:
            return await self.files.step()
        except Exception as error:
            _warn("the search for files that nothing refers to failed and will be tried again", error)
            return False

    async def forget_former(self) -> None:
        """Forget the members of rooms whose deletion ended long ago."""
        more = True
        while more:
            async with self.store.database.transaction() as tx:
                more = await forget_some(tx, before_ts=self.now_ms() - int(self.options.kept_s * 1000))

    async def _step(self, deletion: Deletion) -> None:
        if deletion.status == "leaving":
            await self._leave(deletion)
        elif deletion.status == "telling":
            await self._wait_until_told(deletion)
        elif deletion.status == "purging":
            await self.purge.step(deletion)
        else:
            await self._wait_for_files(deletion)

    async def _leave(self, deletion: Deletion) -> None:
        """Some of the local users leave; where nobody is left to, go on."""
        if deletion.room_nid is None:
            await self.purge.finish(deletion)
            return
        async with self.store.database.connection() as connection:
            limit = LEAVES_PER_STEP * (1 + deletion.attempts)
            members = await find_members_to_leave(connection, deletion.room_nid, self.server_name, limit=limit)
        if not members or deletion.attempts >= LEAVE_ATTEMPTS_MAX:
            await self._all_have_left(deletion)
            return
        turns = asyncio.Semaphore(LEAVES_AT_ONCE)
        errors = await asyncio.gather(*(self._leave_one(user_id, deletion.room_id, turns) for user_id in members))
        async with self.store.database.transaction() as tx:
            await note_left(tx, deletion.nid, self.server_name)
            if None in errors:
                await advance(tx, deletion.nid, "leaving", now=self.now_ms())
        if None not in errors:
            await self._put_off(deletion, type(errors[0]).__name__)

    async def _leave_one(self, user_id: UserId, room_id: RoomId, turns: asyncio.Semaphore) -> Exception | None:
        async with turns:
            try:
                await self.leaving.leave_by(user_id, room_id, member_content("leave", names={}))
            except Exception as error:
                _warn("a user could not leave a room that is deleted", error, room_id=room_id)
                return error
        return None

    async def _all_have_left(self, deletion: Deletion) -> None:
        now = self.now_ms()
        async with self.store.database.transaction() as tx:
            await note_left(tx, deletion.nid, self.server_name)
            if not deletion.purges:
                await advance(tx, deletion.nid, "sifting", now=now)
                return
            await note_all_left(
                tx,
                deletion.nid,
                now=now,
                position=await read_newest_position(tx),
                told_until_ts=now + int(self.options.told_within_s * 1000),
            )

    async def _wait_until_told(self, deletion: Deletion) -> None:
        """Whether other servers have been told that our users have left, and no join is under way."""
        assert deletion.room_nid is not None and deletion.position is not None and deletion.told_until_ts is not None
        now = self.now_ms()
        async with self.store.database.read() as tx:
            is_owed = await is_anything_owed(tx, deletion.room_nid, up_to=deletion.position)
            is_joined = await is_join_under_way(tx, deletion.room_id, now)
        if is_joined or (is_owed and now < deletion.told_until_ts):
            async with self.store.database.transaction() as tx:
                await note_attempt(tx, deletion.nid, due_ts=now + int(self.options.wait_s * 1000), problem=None)
            return
        async with self.store.database.transaction() as tx:
            await advance(tx, deletion.nid, "purging", now=now)

    async def _wait_for_files(self, deletion: Deletion) -> None:
        """Whether it is known of all files of the room whether anything refers to them."""
        async with self.store.database.connection() as connection:
            is_sought = await has_noted(connection, deletion.nid)
        if is_sought:
            async with self.store.database.transaction() as tx:
                due_ts = self.now_ms() + int(self.options.wait_s * 1000)
                await note_attempt(tx, deletion.nid, due_ts=due_ts, problem=None)
        else:
            await self.purge.finish(deletion)

    async def _put_off(self, deletion: Deletion, problem: str) -> None:
        pause_s = min(self.options.pause_s * 2 ** min(deletion.attempts, 16), self.options.pause_s_max)
        async with self.store.database.transaction() as tx:
            await note_attempt(tx, deletion.nid, due_ts=self.now_ms() + int(pause_s * 1000), problem=problem)


def _warn(event: str, error: Exception, **fields: str) -> None:
    """Log what went wrong; where from, unless it is an error that clients could be told as well."""
    exc_info = None if isinstance(error, MatrixError) else error
    log.warning(event, error=type(error).__name__, exc_info=exc_info, **fields)
