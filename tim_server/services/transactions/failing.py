"""Servers to which sending fails, or whose events wait until they can be asked about what lacks: when one of them is
heard, the process that sends, and the one that asks, are told, which then try it again.

Spec: https://spec.matrix.org/v1.19/server-server-api/#transactions
"""

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import structlog

from tim_server.federation.server_health import ServerHealth
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.record_failures import TellOfServer
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Database
from tim_server.storage.destinations import FAILING, HEARD, WORKING, find_failing
from tim_server.storage.waiting_pdus import POSTPONED, find_awaited
from tim_server.storage.writer import Writer

TOLD_INTERVAL_S = 30.0
"""How often it is told of one server."""
TRUST_PAUSE_S = 6.0
"""How long after a change of trust servers are tried again: then also what was refused just before it is recorded, and
counts as tried long enough ago (`HEARD_PAUSE_S` of the sender)."""

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class FailingServers:
    """Knows them in every process, since any may be the one that hears; a time of `clock_s` for each, since when it may
    be told of again; those that are `_awaited` are told of once. What is heard in any process counts for the `health`
    of servers in each."""

    database: Database
    writer: Writer
    health: ServerHealth
    clock_s: Callable[[], float]
    _failing: dict[ServerName, float] = field(default_factory=dict)
    _awaited: set[ServerName] = field(default_factory=set)
    _tasks: "set[asyncio.Task[None]]" = field(default_factory=set)
    _is_loaded: bool = False
    _trying_again: asyncio.TimerHandle | None = None

    def follow(self, entry: CommitEntry) -> None:
        """Take in which servers fail."""
        for server, streams in entry.servers.items():
            if FAILING in streams:
                self._failing.setdefault(server, 0.0)
            if WORKING in streams:
                self._failing.pop(server, None)
            if POSTPONED in streams:
                self._awaited.add(server)
            if WORKING in streams or HEARD in streams:
                self._awaited.discard(server)
                self.health.heard_from(server)

    def heard(self, server: ServerName) -> None:
        """The server has asked for something, and it was the server."""
        self.health.heard_from(server)
        if not self._is_loaded:
            self._is_loaded = True
            self._start(self._load_and_hear(server))
        elif server in self._awaited or self.clock_s() >= self._failing.get(server, math.inf):
            self._awaited.discard(server)
            if server in self._failing:
                self._failing[server] = self.clock_s() + TOLD_INTERVAL_S
            self._start(self.tell(server))

    async def trust_changed(self, may_contact: Callable[[ServerName], bool]) -> None:
        """Who may be talked to has changed: soon have those tried again that may. Where contact was refused, it is not
        tried often otherwise."""
        if self._trying_again is None:
            loop = asyncio.get_running_loop()
            self._trying_again = loop.call_later(TRUST_PAUSE_S, self._try_again, may_contact)

    async def tell(self, server: ServerName) -> None:
        """Have the server tried again."""
        await self.writer.write(TellOfServer(server=server, stream=HEARD))

    def clear(self) -> None:
        """Forget everything, as after a restore."""
        self._failing.clear()
        self._awaited.clear()
        self._is_loaded = False

    async def close(self) -> None:
        """Finish what was begun."""
        if self._trying_again is not None:
            self._trying_again.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _try_again(self, may_contact: Callable[[ServerName], bool]) -> None:
        self._trying_again = None
        self._start(self._hear_all(may_contact))

    async def _hear_all(self, may_contact: Callable[[ServerName], bool]) -> None:
        if not self._is_loaded:
            self._is_loaded = True
            await self._load()
        for server in [server for server in self._failing if may_contact(server)]:
            self.heard(server)

    async def _load(self) -> None:
        try:
            async with self.database.connection() as connection:
                found = await find_failing(connection)
                self._awaited |= await find_awaited(connection)
        except BaseException:
            self._is_loaded = False
            raise
        for name in found:
            self._failing.setdefault(name, 0.0)

    async def _load_and_hear(self, server: ServerName) -> None:
        await self._load()
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
