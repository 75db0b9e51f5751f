"""Servers to which sending fails: when one of them is heard, the process that sends is told, which then tries it again.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.record_failures import TellOfServer
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Database
from tim_server.storage.destinations import FAILING, HEARD, WORKING, find_failing
from tim_server.storage.writer import Writer

TOLD_INTERVAL_S = 30.0
"""How often it is told of one server."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class FailingServers:
    """Knows them in every process, since any may be the one that hears; a time of `clock_s` for each, since when it may
    be told of again."""

    database: Database
    writer: Writer
    clock_s: Callable[[], float]
    _failing: dict[ServerName, float] = field(default_factory=dict)
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _is_loaded: bool = False

    def follow(self, entry: CommitEntry) -> None:
        """Take in which servers fail."""
        for server, streams in entry.servers.items():
            if FAILING in streams:
                self._failing.setdefault(server, 0.0)
            if WORKING in streams:
                self._failing.pop(server, None)

    def heard(self, server: ServerName) -> None:
        """The server has asked for something, and it was the server."""
        if not self._is_loaded:
            self._is_loaded = True
            self._start(self._load(server))
        elif server in self._failing and self.clock_s() >= self._failing[server]:
            self._failing[server] = self.clock_s() + TOLD_INTERVAL_S
            self._start(self.tell(server))

    async def tell(self, server: ServerName) -> None:
        """Have the server tried again."""
        await self.writer.write(TellOfServer(server=server, stream=HEARD))

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._failing.clear()
        self._is_loaded = False

    async def close(self) -> None:
        """Finish what was begun."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _load(self, server: ServerName) -> None:
        try:
            async with self.database.connection() as connection:
                found = await find_failing(connection)
        except BaseException:
            self._is_loaded = False
            raise
        for name in found:
            self._failing.setdefault(name, 0.0)
        self.heard(server)

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work, name="heard")
        self._tasks.add(task)
        task.add_done_callback(self._is_done)

    def _is_done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if isinstance(error, MatrixError):
            log.warning("a server that is back could not be told of", errcode=error.errcode)
        elif error is not None:
            log.error("a server that is back could not be told of", exc_info=error)
