"""Deletion of files by administrators: one, those of a user, or old ones. Callers have checked that the requester is an
administrator. Each act is audited with the first files that go; their bytes are removed from disk within minutes.

Another server's file is fetched anew when somebody asks for it, unless it is withdrawn (`moderate.py`).
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.media.avatars import AvatarsInUse
from tim_server.services.media.expire import MEDIA_PER_STEP, names_of
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.database import Connection, Database
from tim_server.storage.media_removal import (
    MediumName,
    oldest_copies,
    oldest_uploads,
    remove_media,
    touch_media,
    uploads_of_user,
)
from tim_server.trust.contacts import is_same_server

DELETED_PER_CALL_MAX = 10_000
"""How many files go at once; who asked is told that there are more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OldMedia:
    """Uploads, or copies of other servers' files, that were last looked at before a time (milliseconds). Uploads may be
    restricted to large ones; avatars stay unless `with_avatars`."""

    of: Literal["uploads", "copies"]
    before_ts: int
    size_bytes_min: int = 0
    with_avatars: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Deleted:
    """What was deleted, and whether there is more."""

    media_ids: Sequence[MediaId]
    has_more: bool


Choose = Callable[[Connection], Awaitable[Sequence[MediumName]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDeletion:
    """Deletes files, and the smaller images made of them."""

    server_name: ServerName
    database: Database
    avatars: AvatarsInUse
    now_ms: Callable[[], int]

    async def delete(self, admin: Requester, server_name: ServerName, media_id: MediaId) -> None:
        """Delete a file; raises `NotFound` where it is not here."""
        if is_same_server(server_name, self.server_name):
            server_name = self.server_name
        audit = _entry(admin, "media.delete", f"mxc://{server_name}/{media_id}")
        async with self.database.transaction() as tx:
            if not await remove_media(tx, [(server_name, media_id)], due_ts=self.now_ms()):
                raise NotFound("There is no such file here")
            await append_audit(tx, audit)

    async def delete_of(self, admin: Requester, user_id: UserId, *, limit: int = DELETED_PER_CALL_MAX) -> Deleted:
        """Delete what a user has uploaded, the oldest first."""

        async def choose(tx: Connection) -> Sequence[MediumName]:
            return await uploads_of_user(tx, user_id, limit=MEDIA_PER_STEP)

        return await self._delete(
            choose, _entry(admin, "media.delete_of_user", user_id), min(limit, DELETED_PER_CALL_MAX)
        )

    async def delete_old(self, admin: Requester, old: OldMedia) -> Deleted:
        """Delete what nobody has looked at for long, the oldest first."""
        kept = set() if old.with_avatars or old.of == "copies" else await self.avatars.find()

        async def choose(tx: Connection) -> Sequence[MediumName]:
            return await self._choose_old(tx, old, kept)

        audit = _entry(admin, f"media.delete_old_{old.of}", f"before_ts={old.before_ts}")
        return await self._delete(choose, audit, DELETED_PER_CALL_MAX)

    async def _choose_old(self, tx: Connection, old: OldMedia, kept: set[MediaId]) -> Sequence[MediumName]:
        """Avatars that stay count as looked at since, so that others come next."""
        if old.of == "copies":
            return await oldest_copies(tx, before=old.before_ts, limit=MEDIA_PER_STEP)
        before = min(old.before_ts, self.now_ms())
        while found := await oldest_uploads(tx, before=before, size_bytes_min=old.size_bytes_min, limit=MEDIA_PER_STEP):
            await touch_media(tx, [each for each in found if each.media_id in kept], now=before)
            if chosen := [each for each in found if each.media_id not in kept]:
                return chosen
        return ()

    async def _delete(self, choose: Choose, audit: AuditEntry, limit: int) -> Deleted:
        deleted: list[MediaId] = []
        is_audited = False
        while len(deleted) < limit:
            async with self.database.transaction() as tx:
                if not is_audited:
                    await append_audit(tx, audit)
                chosen = list(await choose(tx))[: limit - len(deleted)]
                gone = await remove_media(tx, names_of(chosen), due_ts=self.now_ms())
            is_audited = True
            deleted += [each.media_id for each in gone]
            if not chosen:
                return Deleted(media_ids=deleted, has_more=False)
        return Deleted(media_ids=deleted, has_more=True)


def _entry(admin: Requester, action: str, of: str) -> AuditEntry:
    return AuditEntry(actor=admin.user_id, action=action, object=of)
