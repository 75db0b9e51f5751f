"""What follows from a check of the media store (`check.py`): objects that nothing refers to are removed, and what is
lost but can be had anew is forgotten.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import ServerName
from tim_server.media_store.files import FOLDERS
from tim_server.media_store.objects import Objects
from tim_server.services.media.reap import LeftoverReaping
from tim_server.services.media.stored_objects import (
    OBJECTS_PER_STEP,
    Finding,
    Trouble,
    is_young,
    kind_of,
    own_objects,
)
from tim_server.storage.audit_log import COMMAND_LINE, AuditEntry, append_audit
from tim_server.storage.database import Database
from tim_server.storage.media_objects import doom_unknown, forget_thumbnails, unknown_among
from tim_server.storage.media_removal import remove_media

_GONE = (Trouble.MISSING, Trouble.WRONG_SIZE, Trouble.ALTERED)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrphanRemoval:
    """Removes them. Each is doomed first, as what uploads leave is: where this is interrupted, the server goes on with
    it. `young_ms`: objects that were written less long ago stay."""

    server_name: ServerName
    database: Database
    objects: Objects
    reaping: LeftoverReaping
    young_ms: int
    now_ms: Callable[[], int]

    async def remove(self, progress: Callable[[str, int], None]) -> int:
        """Remove all; how many. `progress` is told of folders that are done, and how many were removed until then. One
        entry of the audit log tells of it. Raises a `MediaStoreError` where the store can't be listed, and
        `Unavailable`."""
        removed = 0
        for folder in FOLDERS:
            found, _ = await own_objects(self.objects, folder)
            names = [
                each.name for each in found.values() if not is_young(each, now_ms=self.now_ms(), young_ms=self.young_ms)
            ]
            for start in range(0, len(names), OBJECTS_PER_STEP):
                removed += await self._remove(names[start : start + OBJECTS_PER_STEP], is_first=not removed)
            progress(folder, removed)
        return removed

    async def _remove(self, names: Sequence[str], *, is_first: bool) -> int:
        async with self.database.connection() as connection:
            unknown = await unknown_among(connection, names)
        if not unknown:
            return 0
        async with self.database.transaction() as tx:
            doomed = await doom_unknown(tx, sorted(unknown), now=self.now_ms())
            if is_first and doomed:
                await append_audit(tx, _entry("media.remove_orphans", self.server_name))
        await self.reaping.reap()
        return len(doomed)


@dataclass(slots=True, kw_only=True)
class LostForgetting:
    """Forgets copies of other servers' files, pictures of web pages, and thumbnails that are lost: they are fetched, or
    made, anew when somebody asks for them."""

    server_name: ServerName
    database: Database
    now_ms: Callable[[], int]
    _is_audited: bool = False

    async def forget(self, findings: Sequence[Finding]) -> None:
        """Forget what can be had anew of these. The first time, the audit log is told."""
        gone = [each for each in findings if each.trouble in _GONE and each.referred is not None]
        thumbnails = [each.object_name for each in gone if kind_of(each, self.server_name) == "thumbnail"]
        copies = [
            (each.referred.server_name, each.referred.media_id)
            for each in gone
            if each.referred is not None and kind_of(each, self.server_name) in ("copy", "picture")
        ]
        if not thumbnails and not copies:
            return
        now = self.now_ms()
        async with self.database.transaction() as tx:
            await forget_thumbnails(tx, thumbnails, now=now)
            await remove_media(tx, copies, due_ts=now)
            if not self._is_audited:
                await append_audit(tx, _entry("media.forget_lost", self.server_name))
        self._is_audited = True


def _entry(action: str, of: str) -> AuditEntry:
    return AuditEntry(actor=COMMAND_LINE, action=action, object=of)
