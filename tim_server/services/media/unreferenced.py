"""Removing files that only events of deleted rooms referred to: a search through everything else that may refer to a
file. One process searches, page by page, at most half of the time; each page is committed with how far it has come.

What is committed while the search goes on, and while files are removed, is followed in the commit log, so that what
refers to a file now is seen, wherever the search is. What is encrypted end to end says nothing: a file counts as
unreferenced though an encrypted event names it.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field, replace

import structlog

from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.matrix.media_references import MediaName, media_named_in
from tim_server.services.media.expire import GRACE_MS, MEDIA_PER_STEP
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import read_entries, read_newest_position
from tim_server.storage.database import Connection, Database
from tim_server.storage.media_references import (
    SOURCES,
    MediaSearch,
    begin_search,
    count_sifted,
    delete_used,
    end_search,
    find_search,
    load_page,
    load_sought,
    put_search,
    take_unreferenced,
)
from tim_server.storage.media_removal import remove_media

SOUGHT_MAX = 50_000
"""How many files are sought at once, about 10 MB in memory; others after them."""
CONTENTS_PER_STEP = 500
COMMITS_PER_STEP = 500
REMOVING = "removing"
"""Where the search is when all has been looked through."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class UnreferencedMedia:
    """Searches; `codec` opens events and what else holds content. `_sought` are the files that this process seeks, by
    their name in lower case."""

    database: Database
    codec: Codec
    now_ms: Callable[[], int]
    _sought: dict[MediaName, list[MediaName]] | None = field(default=None)

    def restart(self) -> None:
        """Another process may have searched meanwhile: forget what this one knows of the search."""
        self._sought = None

    async def step(self) -> bool:
        """Look through some, or remove some; False where there is nothing to do. A step that fails is done again."""
        began = asyncio.get_running_loop().time()
        try:
            is_busy = await self._step()
        except BaseException:
            self.restart()
            raise
        await asyncio.sleep(min(asyncio.get_running_loop().time() - began, 1.0) if is_busy else 0)
        return is_busy

    async def _step(self) -> bool:
        async with self.database.connection() as connection:
            search = await find_search(connection)
        if search is None:
            return await self._begin()
        if self._sought is None:
            await self._load_sought()
        caught_up = await self._catch_up(search)
        if caught_up is None:
            return True
        if search.source == REMOVING:
            await self._remove()
        else:
            await self._look_through(replace(search, position=caught_up))
        return True

    async def _begin(self) -> bool:
        self._sought = None
        async with self.database.transaction() as tx:
            first = next(iter(SOURCES))
            search = MediaSearch(source=first, after=SOURCES[first], position=await read_newest_position(tx))
            return await begin_search(tx, search, limit=SOUGHT_MAX)

    async def _load_sought(self) -> None:
        async with self.database.connection() as connection:
            names = await load_sought(connection)
        self._sought = {}
        for name in names:
            self._sought.setdefault(_folded(name), []).append(name)

    async def _catch_up(self, search: MediaSearch) -> int | None:
        """Look through what was committed meanwhile; the position up to which, None where there is more."""
        async with self.database.read() as tx:
            read = await read_entries(tx, self.codec, search.position, limit=COMMITS_PER_STEP)
            newest = await read_newest_position(tx)
        if read.trimmed:  # the search has stood still for more than a day: begin it anew
            first = next(iter(SOURCES))
            await self._note(MediaSearch(source=first, after=SOURCES[first], position=newest), (), 0)
            return None
        bodies = [row.body for entry in read.entries for rows in entry.events.values() for row in rows]
        position = read.entries[-1].position if read.entries else search.position
        used = await asyncio.to_thread(_named_among, self._sought or {}, bodies)
        if used or read.more:
            await self._note(replace(search, position=position), used, 0)
        return None if read.more else position

    async def _look_through(self, search: MediaSearch) -> None:
        """The next page, or the end of a source."""
        async with self.database.connection() as connection:
            page = await load_page(connection, search.source, search.after, limit=CONTENTS_PER_STEP)
        contents = map(self.codec.decode_readable, page.contents)
        used = await asyncio.to_thread(_named_among, self._sought or {}, contents)
        after = page.after
        if after is not None:
            events = len(page.contents) if search.source == "events" else 0
            await self._note(replace(search, after=after), used, events)
            return
        sources = [*SOURCES, REMOVING]
        following = sources[sources.index(search.source) + 1]
        await self._note(replace(search, source=following, after=SOURCES.get(following, ())), (), 0)

    async def _note(self, search: MediaSearch, used: Collection[MediaName], events: int) -> None:
        """The search is this far, and these files of those that are sought have been found to be named."""
        assert self._sought is not None
        async with self.database.transaction() as tx:
            await put_search(tx, search)
            await delete_used(tx, [name for each in used for name in self._sought[each]])
            if events:
                await count_sifted(tx, events)
        for each in used:
            del self._sought[each]

    async def _remove(self) -> None:
        """Some of what was sought in vain; then there is no search any more."""
        assert self._sought is not None
        async with self.database.transaction() as tx:
            unwanted = await take_unreferenced(tx, limit=MEDIA_PER_STEP)
            if not unwanted:
                await end_search(tx)
                return
            names = [(each.server_name, each.media_id) for each in unwanted]
            removed = await remove_media(tx, names, due_ts=self.now_ms() + GRACE_MS)
            await _audit(tx, {each.room_id: each.requested_by for each in unwanted if each.is_first})
        for name in names:
            self._sought[_folded(name)].remove(name)
        log.info("files that nothing refers to were removed", files=len(removed))


async def _audit(tx: Connection, rooms: dict[RoomId, UserId]) -> None:
    """That files of these rooms are deleted, once for each deletion of a room."""
    for room_id, by in rooms.items():
        await append_audit(tx, AuditEntry(actor=by, action="room.delete_files", object=room_id))


def _folded(name: MediaName) -> MediaName:
    """A file's name as it is compared: a server may be written in any case."""
    return name[0].lower(), name[1]


def _named_among(sought: Collection[MediaName], contents: Iterable[bytes]) -> set[MediaName]:
    """Those of the files, by their folded names, that contents name."""
    named = (_folded(name) for content in contents for name in media_named_in(content))
    return {name for name in named if name in sought}
