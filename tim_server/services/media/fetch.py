"""Fetch files of other servers, and keep copies.

Whoever asks for a file that is being fetched waits for the same fetch, which goes on when they leave. How many are
fetched at once is bounded, for each server too, so that a slow one holds up nobody else's, and for each who asks, so
that nobody takes all turns with slow servers of their own; others wait their turn. What can't be had is not asked for
again for a while.

Spec: https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial

from tim_server.egress.errors import ResponseTooLarge
from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.federation.errors import RemoteError
from tim_server.federation.media import RemoteFile, download_media
from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.federation_errors import BadGateway
from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.matrix.media_errors import (
    MalwareFound,
    NotYetUploaded,
    RemoteFileTooLarge,
    ScanImpossible,
    ScanUnavailable,
)
from tim_server.services.fair_turns import FairTurns, OwnTurns
from tim_server.services.media.keep import ArrivingMedium, MediaKeeping
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.servers.told import errors_told
from tim_server.services.shared_work import SharedWork
from tim_server.storage.database import Connection, Database
from tim_server.storage.media import Medium, find_medium
from tim_server.storage.quarantined_media import note_malware

MALWARE_NOTED_MS = 7 * 24 * 60 * 60 * 1000
"""How long a file is not fetched again in which malware was found."""
FETCHES_MAX = 40
FETCHES_PER_SERVER_MAX = 8
FETCHES_PER_ASKER_MAX = 10
WAITING_PER_SERVER_MAX = 200
WAITING_PER_ASKER_MAX = 200
TIMEOUT_MS_MAX = 60_000
REFUSALS = (NotFound, Forbidden, BadGateway, RemoteFileTooLarge, MalwareFound, ScanImpossible, ScanUnavailable)
"""What the other server, or its file, is to blame for; and what would be fetched in vain."""

_Name = tuple[ServerName, MediaId]


def fetch_turns() -> FairTurns:
    """Turns to fetch: of who asks, and of the server that is asked."""
    return FairTurns(
        at_once_max=FETCHES_MAX,
        of_askers=OwnTurns(per_key_max=FETCHES_PER_ASKER_MAX, asked_max=WAITING_PER_ASKER_MAX),
        of_others=OwnTurns(per_key_max=FETCHES_PER_SERVER_MAX, asked_max=WAITING_PER_SERVER_MAX),
    )


@dataclass(slots=True, kw_only=True)
class RemoteMedia:
    """Fetches files."""

    client: FederationClient
    database: Database
    keeping: MediaKeeping
    policy: MediaPolicy
    work: SharedWork[_Name, Medium]
    turns: FairTurns = field(default_factory=fetch_turns)

    async def fetch(self, server_name: ServerName, media_id: MediaId, *, asked_by: str, timeout_ms: int) -> Medium:
        """The copy that is kept from now on. Raises `NotFound`, `Forbidden`, `BadGateway`, `RemoteFileTooLarge`,
        `NotYetUploaded`, `LimitExceeded`, `Unavailable`, and what keeping a file raises."""
        name, waits_ms = (server_name, media_id), max(0, min(timeout_ms, TIMEOUT_MS_MAX))
        turn = self.turns.of(asked_by, server_name.lower())
        return await self.work.get(name, partial(self._fetch, name, waits_ms), turn=turn)

    async def close(self) -> None:
        """End the fetches."""
        await self.work.close()

    async def _fetch(self, name: _Name, timeout_ms: int) -> Medium:
        if (medium := await self._kept_meanwhile(name)) is not None:
            return medium
        server_name, media_id = name
        bounds = RequestBounds(timeout_s=self.policy.remote_timeout_s, size_bytes_max=self.policy.remote_bytes_max)
        async with errors_told("file"):
            try:
                async with download_media(
                    self.client, server_name, media_id, timeout_ms=timeout_ms, bounds=bounds
                ) as file:
                    return await self._keep(name, file)
            except ResponseTooLarge:
                raise RemoteFileTooLarge() from None
            except RemoteError as error:
                if error.errcode == "M_NOT_YET_UPLOADED":
                    raise NotYetUploaded() from None
                if error.errcode == "M_TOO_LARGE":
                    raise RemoteFileTooLarge() from None
                raise

    async def _keep(self, name: _Name, file: RemoteFile) -> Medium:
        server_name, media_id = name
        arriving = ArrivingMedium(
            server_name=server_name,
            media_id=media_id,
            user_id=None,
            content_type=file.content_type,
            file_name=file.file_name,
            pieces=self._bounded(file),
        )
        try:
            medium = await self.keeping.keep(arriving, timeout_s=self.policy.remote_timeout_s)
        except TimeoutError:
            raise BadGateway("The other server takes too long to send the file") from None
        except MalwareFound:
            await self.keeping.writer.write(_NoteMalware(name=name, now=self.keeping.now_ms()))
            raise
        medium = medium or await self._kept_meanwhile(name)
        if medium is None:
            raise BadGateway("The file took too long to be kept")
        return medium

    async def _bounded(self, file: RemoteFile) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for chunk in file.chunks:
            size_bytes += len(chunk)
            if size_bytes > self.policy.remote_bytes_max:
                raise RemoteFileTooLarge()
            yield chunk

    async def _kept_meanwhile(self, name: _Name) -> Medium | None:
        """The copy that was made meanwhile: by another process, or while this waited for its turn."""
        async with self.database.connection() as connection:
            return await find_medium(connection, self.keeping.codec, *name)


@dataclass(frozen=True, slots=True, kw_only=True)
class _NoteMalware:
    name: _Name
    now: int
    users: tuple[UserId, ...] = ()
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await note_malware(tx, *self.name, now=self.now, expires_ts=self.now + MALWARE_NOTED_MS)
