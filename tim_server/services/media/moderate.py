"""What administrators do with files: look at what is known of them, withdraw and release them. Each act is audited, and
so is each look, since files have names. Callers have checked that the requester is an administrator.

What is withdrawn is given to nobody, here or to other servers, and is not fetched; its bytes stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.media import (
    Medium,
    UploadsRange,
    find_medium,
    knows_medium,
    list_uploads,
    sum_uploads,
)
from tim_server.storage.quarantined_media import (
    Quarantine,
    delete_quarantine,
    find_quarantine,
    list_quarantined,
    put_quarantine,
    quarantine_uploads,
)
from tim_server.storage.writer import Writer
from tim_server.trust.contacts import is_same_server

LIMIT_MAX = 500
"""How many files one page holds at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownMedium:
    """What is known of a file: None where it is not here, and where it is not withdrawn."""

    medium: Medium | None
    quarantine: Quarantine | None


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadsPage:
    """A page of what a user has uploaded, whether there are more behind it, and how many they are in all."""

    media: Sequence[Medium]
    has_more: bool
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaModeration:
    """Shows, withdraws and releases files."""

    server_name: ServerName
    database: Database
    writer: Writer
    codec: Codec
    now_ms: Callable[[], int]

    async def read(self, admin: Requester, server_name: ServerName, media_id: MediaId) -> KnownMedium:
        """What is known of a file; raises `NotFound` where that is nothing."""
        server_name = self._named(server_name)
        async with self.database.read() as tx:
            medium = await find_medium(tx, self.codec, server_name, media_id)
            quarantine = await find_quarantine(tx, server_name, media_id)
        if medium is None and quarantine is None:
            raise NotFound("There is no such file here")
        await self.writer.write(_Audited(audit=_entry(admin, "media.read", uri_of(server_name, media_id))))
        return KnownMedium(medium=medium, quarantine=quarantine)

    async def uploads(self, admin: Requester, user_id: UserId, within: UploadsRange) -> UploadsPage:
        """A page of what a user has uploaded, of at most `LIMIT_MAX`."""
        limit = min(within.limit, LIMIT_MAX)
        one_more = UploadsRange(limit=limit + 1, offset=within.offset, newest_first=within.newest_first)
        async with self.database.read() as tx:
            found = await list_uploads(tx, self.codec, user_id, one_more)
            total = (await sum_uploads(tx, user_id)).files
        await self.writer.write(_Audited(audit=_entry(admin, "media.list_of_user", user_id)))
        return UploadsPage(media=found[:limit], has_more=len(found) > limit, total=total)

    async def quarantined(
        self, admin: Requester, *, before: int | None, limit: int
    ) -> tuple[Sequence[Quarantine], bool]:
        """What is withdrawn, newest first, at most `LIMIT_MAX`, and whether there is more."""
        limit = min(limit, LIMIT_MAX)
        async with self.database.connection() as connection:
            found = await list_quarantined(connection, before=before, limit=limit + 1)
        await self.writer.write(_Audited(audit=_entry(admin, "media.list_quarantined", "quarantined media")))
        return found[:limit], len(found) > limit

    async def quarantine(self, admin: Requester, server_name: ServerName, media_id: MediaId) -> None:
        """Withdraw a file, and all of the same bytes; another server's also if it is not here. Raises `NotFound`."""
        server_name = self._named(server_name)
        audit = _entry(admin, "media.quarantine", uri_of(server_name, media_id))
        must_exist = server_name == self.server_name
        await self.writer.write(
            _Quarantine(name=(server_name, media_id), must_exist=must_exist, now=self.now_ms(), audit=audit)
        )

    async def quarantine_of(self, admin: Requester, user_id: UserId) -> int:
        """Withdraw all that a user has uploaded; how many files were not withdrawn before."""
        async with self.database.transaction() as tx:  # of its own: it may be many
            count = await quarantine_uploads(tx, user_id, decided_by=admin.user_id, now=self.now_ms())
            await append_audit(tx, _entry(admin, "media.quarantine_of_user", user_id))
        return count

    async def release(self, admin: Requester, server_name: ServerName, media_id: MediaId) -> None:
        """Have a file given out again; raises `NotFound` where it is not withdrawn."""
        server_name = self._named(server_name)
        audit = _entry(admin, "media.release", uri_of(server_name, media_id))
        await self.writer.write(_Release(name=(server_name, media_id), audit=audit))

    def _named(self, server_name: ServerName) -> ServerName:
        """The server as its files are known by: the name of this one may be written otherwise."""
        return self.server_name if is_same_server(server_name, self.server_name) else server_name


def uri_of(server_name: ServerName, media_id: MediaId) -> str:
    """What a file is called in the audit log."""
    return f"mxc://{server_name}/{media_id}"


def _entry(admin: Requester, action: str, of: str) -> AuditEntry:
    return AuditEntry(actor=admin.user_id, action=action, object=of)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Audited:
    audit: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await append_audit(tx, self.audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Quarantine:
    name: tuple[ServerName, MediaId]
    must_exist: bool
    now: int
    audit: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if self.must_exist and not await knows_medium(tx, *self.name):
            raise NotFound("There is no such file here")
        await put_quarantine(tx, *self.name, decided_by=UserId(self.audit.actor), now=self.now)
        await append_audit(tx, self.audit)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Release:
    name: tuple[ServerName, MediaId]
    audit: AuditEntry
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        if not await delete_quarantine(tx, *self.name):
            raise NotFound("The file is not withdrawn")
        await append_audit(tx, self.audit)
