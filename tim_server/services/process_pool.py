"""Processes for work that would hold up the server: heavy state resolutions, images.

A process that dies, as when memory runs out, is replaced: what it was asked is asked again. When the server itself is
killed, the processes leave too.
"""

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from tim_server.matrix.errors import Unavailable

A = TypeVar("A")
T = TypeVar("T")

ATTEMPTS_MAX = 3

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class ProcessPool:
    """Starts its processes when first needed. `work` says what they do, for the log; `attempts_max` is how often a call
    is made before it is held to be what kills them."""

    work: str
    processes: int = 1
    attempts_max: int = ATTEMPTS_MAX
    idle_s: float | None = None
    """After how many seconds without work the processes end; None: they stay."""
    _pool: ProcessPoolExecutor | None = field(default=None, init=False)
    _running: int = field(default=0, init=False)
    _end: asyncio.TimerHandle | None = field(default=None, init=False)

    async def run(self, call: Callable[[A], T], argument: A) -> T:
        """What `call` returns of `argument`; raises what it raises, and `Unavailable` where processes keep dying."""
        self._stay()
        self._running += 1
        try:
            return await self._run(call, argument)
        finally:
            self._running -= 1
            if self.idle_s is not None and not self._running:
                self._end = asyncio.get_running_loop().call_later(self.idle_s, self.close)

    async def _run(self, call: Callable[[A], T], argument: A) -> T:
        for _ in range(self.attempts_max):
            pool = self._pool = self._pool or self._open()
            try:
                return await asyncio.get_running_loop().run_in_executor(pool, call, argument)
            except BrokenProcessPool:
                log.error("a process died and is replaced", work=self.work)
                if self._pool is pool:
                    self._pool = None
        raise Unavailable()

    def close(self) -> None:
        """Stop the processes; the next call starts them anew."""
        self._stay()
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)
            self._pool = None

    def _stay(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _open(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.processes, mp_context=context, initializer=_begin)


def _begin() -> None:
    """In each process: the server says when to stop (Ctrl-C reaches all), or has died without a word."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with_parent, daemon=True).start()


def _leave_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
