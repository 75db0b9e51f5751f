"""Fetch files of other servers, and keep copies.

Whoever asks for a file that is being fetched waits for the same fetch, which goes on when they leave. How many are
fetched at once is bounded, for each server too, so that a slow one holds up nobody else's; others wait their turn. What
can't be had is not asked for again for a while.

Spec: https://spec.matrix.org/v1.19/server-server-api/#content-repository
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

from tim_server.egress.errors import ResponseTooLarge
from tim_server.federation.client import FederationClient, RequestBounds
from tim_server.federation.errors import RemoteError
from tim_server.federation.media import RemoteFile, download_media
from tim_server.matrix.errors import Forbidden, LimitExceeded, MatrixError, NotFound, Unavailable
from tim_server.matrix.federation_errors import BadGateway
from tim_server.matrix.identifiers import MediaId, ServerName
from tim_server.matrix.media_errors import NotYetUploaded, RemoteFileTooLarge
from tim_server.services.media.keep import ArrivingMedium, MediaKeeping
from tim_server.services.media.policy import MediaPolicy
from tim_server.services.servers.told import errors_told
from tim_server.storage.database import Database
from tim_server.storage.media import Medium, find_medium

FETCHES_MAX = 40
FETCHES_PER_SERVER_MAX = 8
WAITING_MAX = 1_000
WAITING_PER_SERVER_MAX = 200
TURN_TIMEOUT_S = 60.0
REFUSALS_REMEMBERED_MAX = 10_000
REFUSALS_REMEMBERED_MS = 30_000
TIMEOUT_MS_MAX = 60_000

RETRY_AFTER_MS = 5_000

_Name = tuple[ServerName, MediaId]


@dataclass(slots=True)
class _Server:
    """A server that files are fetched from: how many are asked for, and whose turn it is."""

    asked: int = 0
    turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES_PER_SERVER_MAX))


@dataclass(slots=True, kw_only=True)
class RemoteMedia:
    """Fetches files."""

    client: FederationClient
    database: Database
    keeping: MediaKeeping
    policy: MediaPolicy
    now_ms: Callable[[], int]
    _fetches: "dict[_Name, asyncio.Task[Medium]]" = field(default_factory=dict)
    _turns: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(FETCHES_MAX))
    _servers: "dict[ServerName, _Server]" = field(default_factory=dict)
    _refusals: OrderedDict[_Name, tuple[int, MatrixError]] = field(default_factory=OrderedDict)

    async def fetch(self, server_name: ServerName, media_id: MediaId, *, timeout_ms: int) -> Medium:
        """The copy that is kept from now on. Raises `NotFound`, `Forbidden`, `BadGateway`, `RemoteFileTooLarge`,
        `NotYetUploaded`, `LimitExceeded`, `Unavailable`, and what keeping a file raises."""
        name = (server_name, media_id)
        self._check_refusals(name)
        if name not in self._fetches:
            self._begin(name, max(0, min(timeout_ms, TIMEOUT_MS_MAX)))
        return await asyncio.shield(self._fetches[name])

    async def close(self) -> None:
        """End the fetches."""
        tasks = list(self._fetches.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _check_refusals(self, name: _Name) -> None:
        until, error = self._refusals.get(name, (0, None))
        if error is not None and until > self.now_ms():
            raise type(error)(error.message, **error.extra)

    def _begin(self, name: _Name, timeout_ms: int) -> None:
        server = self._servers.setdefault(name[0], _Server())
        if len(self._fetches) >= WAITING_MAX or server.asked >= WAITING_PER_SERVER_MAX:
            raise LimitExceeded("Too many files are being fetched from other servers", retry_after_ms=RETRY_AFTER_MS)
        server.asked += 1
        task = self._fetches[name] = asyncio.create_task(self._take_turn(name, timeout_ms), name="fetch-media")

        def done(_task: "asyncio.Task[Medium]") -> None:
            del self._fetches[name]
            server.asked -= 1
            if not server.asked:
                del self._servers[name[0]]
            if not _task.cancelled() and isinstance(error := _task.exception(), MatrixError):
                self._remember(name, error)

        task.add_done_callback(done)

    def _remember(self, name: _Name, error: MatrixError) -> None:
        if not isinstance(error, NotFound | Forbidden | BadGateway | RemoteFileTooLarge):
            return
        self._refusals[name] = (self.now_ms() + REFUSALS_REMEMBERED_MS, error)
        self._refusals.move_to_end(name)
        while len(self._refusals) > REFUSALS_REMEMBERED_MAX:
            self._refusals.popitem(last=False)

    async def _take_turn(self, name: _Name, timeout_ms: int) -> Medium:
        """Fetch once the server has no others to send, and there is room among all: in this order, so that who waits
        for a slow server takes no room."""
        async with AsyncExitStack() as stack:
            try:
                async with asyncio.timeout(TURN_TIMEOUT_S):
                    await stack.enter_async_context(self._servers[name[0]].turns)
                    await stack.enter_async_context(self._turns)
            except TimeoutError:
                raise Unavailable("Other files are being fetched; try again") from None
            return await self._fetch(name, timeout_ms)

    async def _fetch(self, name: _Name, timeout_ms: int) -> Medium:
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
        return medium or await self._kept_meanwhile(name)

    async def _bounded(self, file: RemoteFile) -> AsyncIterator[bytes]:
        size_bytes = 0
        async for chunk in file.chunks:
            size_bytes += len(chunk)
            if size_bytes > self.policy.remote_bytes_max:
                raise RemoteFileTooLarge()
            yield chunk

    async def _kept_meanwhile(self, name: _Name) -> Medium:
        """The copy that another process has made meanwhile."""
        async with self.database.connection() as connection:
            medium = await find_medium(connection, self.keeping.codec, *name)
        if medium is None:
            raise BadGateway("The file took too long to be kept")
        return medium
