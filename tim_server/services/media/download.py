"""Give out files.

Spec: https://spec.matrix.org/v1.19/client-server-api/#content-repository
"""

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.matrix.media_errors import MalwareFound, NotYetUploaded
from tim_server.media_store.files import MediaFiles
from tim_server.services.fair_turns import OwnTurns
from tim_server.services.media.arrivals import MediaArrivals
from tim_server.services.media.fetch import TIMEOUT_MS_MAX, RemoteMedia
from tim_server.services.media.keep import file_of
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.media.sending import begin
from tim_server.services.media.told import unreadable_told
from tim_server.services.trust.gate import ChokePoint, TrustGate
from tim_server.storage.announced_media import find_announcement
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection, Database
from tim_server.storage.media import Medium, find_medium, touch_medium
from tim_server.storage.quarantined_media import find_quarantine
from tim_server.storage.writer import Writer
from tim_server.trust.contacts import is_same_server

ACCESS_PRECISION_MS = 24 * 60 * 60 * 1000
"""How exactly it is known when a file was last looked at: a view costs no write, but the first of a day."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaDownload:
    """Finds and reads files, of this server and of others, unless they are withdrawn."""

    server_name: ServerName
    database: Database
    writer: Writer
    codec: Codec
    files: MediaFiles
    gate: TrustGate
    remote: RemoteMedia
    arrivals: MediaArrivals
    turns: OwnTurns
    policy: MediaPolicy
    now_ms: Callable[[], int]

    async def find(
        self, server_name: ServerName, media_id: MediaId, *, asked_by: str, timeout_ms: int, may_fetch: bool = True
    ) -> Medium:
        """A file for a user, or an address. What another server has is fetched unless it is here; `timeout_ms` is how
        long to wait for the upload of what is announced only. Raises `NotFound`, `Forbidden` where the trust gate
        refuses that server, `MalwareFound`, and for other servers' faults `BadGateway`, `RemoteFileTooLarge` and
        `NotYetUploaded`."""
        await self.gate.require(ChokePoint.CLIENT_REQUEST, [server_name])
        if is_same_server(server_name, self.server_name):
            return await self.find_own(media_id, timeout_ms=timeout_ms)
        medium = await self._load(server_name, media_id)
        if medium is None and may_fetch:
            await self.remote.fetch(server_name, media_id, asked_by=asked_by, timeout_ms=timeout_ms)
            medium = await self._load(server_name, media_id)  # of which is known now what its bytes are
        return await self._touched(medium)

    async def find_own(self, media_id: MediaId, *, timeout_ms: int) -> Medium:
        """A file that was uploaded here, or is announced and comes in this time; raises `NotFound` and
        `NotYetUploaded`."""
        medium = await self._load(self.server_name, media_id)
        if medium is None:
            medium = await self._await_announced(media_id, min(timeout_ms, TIMEOUT_MS_MAX))
        return await self._touched(medium)

    async def _await_announced(self, media_id: MediaId, timeout_ms: int) -> Medium | None:
        async with self.database.connection() as connection:
            announced = await find_announcement(connection, media_id, now=self.now_ms())
        if announced is None:
            return await self._load(self.server_name, media_id)  # it may have come just now
        deadline_s = asyncio.get_running_loop().time() + timeout_ms / 1000
        with self.arrivals.of(announced.user_id) as arrival:
            while (medium := await self._load(self.server_name, media_id)) is None:
                try:
                    async with asyncio.timeout_at(deadline_s):
                        await arrival.wait()
                except TimeoutError:
                    raise NotYetUploaded() from None
                arrival.clear()
            return medium

    async def open(self, medium: Medium, *, first: int, last: int, asked_by: str) -> AsyncGenerator[bytes]:
        """The bytes from `first` up to and including `last`, for a user, a server or an address, once it is their turn.
        What can't be read at all raises `InternalError` or
        `Unavailable` now; later a `MediaStoreError` ends the bytes. Raises `LimitExceeded`."""
        async with AsyncExitStack() as turn:
            await turn.enter_async_context(self.turns.of(asked_by))
            with unreadable_told(medium.object_name):
                return await begin(self.files.read(file_of(medium), first=first, last=last), turn.pop_all())

    async def _load(self, server_name: ServerName, media_id: MediaId) -> Medium | None:
        """The file, if it is here; raises `NotFound` and `MalwareFound` for what is withdrawn, here or not."""
        async with self.database.connection() as connection:
            medium = await find_medium(connection, self.codec, server_name, media_id)
            if medium is None and server_name != self.server_name:
                quarantine = await find_quarantine(connection, server_name, media_id)
                if quarantine is not None:
                    raise MalwareFound() if quarantine.cause == "malware" else _not_found()
        if medium is not None and medium.is_quarantined:
            raise _not_found()
        return medium

    async def _touched(self, medium: Medium | None) -> Medium:
        if medium is None:
            raise _not_found()
        now = self.now_ms()
        if now - medium.last_access_ts > ACCESS_PRECISION_MS:
            await self.writer.write(_Touch(medium=medium, now=now))
        return medium


def _not_found() -> NotFound:
    """The same for what is withdrawn, which is nobody's business."""
    return NotFound("There is no such file")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Touch:
    medium: Medium
    now: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await touch_medium(tx, self.medium.server_name, self.medium.media_id, now=self.now)
