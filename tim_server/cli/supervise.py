"""The parent of several workers: starts them, starts those that die again, and stops them all together.

A worker's standard input is a pipe from the parent: when the parent is killed, the pipe closes and the worker stops.
"""

import asyncio
import contextlib
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import structlog

from tim_server.cli.failures import CommandFailed

WORKER_MODULE = "tim_server.cli.worker"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """When a worker that died is started again, and when one that keeps dying at its start is given up."""

    backoff_s_min: float = 0.5
    backoff_s_max: float = 30.0
    steady_after_s: float = 60.0
    quick_deaths_max: int = 5

    def backoff_s(self, quick_deaths: int) -> float:
        """How long to wait before the next start."""
        return min(self.backoff_s_max, self.backoff_s_min * 2.0 ** max(0, quick_deaths - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """What is run: `count` processes of `command`, which is given the file `config`, a number and `count`."""

    config: Path
    count: int
    command: Sequence[str] = (sys.executable, "-m", WORKER_MODULE)
    stop_timeout_s: float
    patience: Patience = Patience()

    async def supervise(self, stop: asyncio.Event) -> None:
        """Keep the workers running until `stop`, then stop them; raises `CommandFailed` when one cannot be started."""
        try:
            async with asyncio.TaskGroup() as group:
                for index in range(self.count):
                    group.create_task(self._keep_running(index, stop))
        except* CommandFailed as failures:
            raise failures.exceptions[0] from None

    async def _keep_running(self, index: int, stop: asyncio.Event) -> None:
        quick_deaths = 0
        while not stop.is_set():
            started = time.monotonic()
            exit_code = await self._run_once(index, stop)
            if stop.is_set():
                return
            quick_deaths = 1 if time.monotonic() - started > self.patience.steady_after_s else quick_deaths + 1
            if quick_deaths >= self.patience.quick_deaths_max:
                raise CommandFailed(f"worker {index} ended {quick_deaths} times shortly after its start: giving up")
            backoff_s = self.patience.backoff_s(quick_deaths)
            log.error("worker_died", worker=index, exit_code=exit_code, restart_in_s=backoff_s)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), backoff_s)

    async def _run_once(self, index: int, stop: asyncio.Event) -> int:
        """Run the worker until it ends by itself or `stop` is set; its exit code."""
        command = [*self.command, str(self.config), str(index), str(self.count)]
        process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, start_new_session=True)
        log.info("worker_started", worker=index, pid=process.pid)
        stopping = asyncio.ensure_future(stop.wait())
        ended = asyncio.ensure_future(process.wait())
        try:
            await asyncio.wait((stopping, ended), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopping.cancel()
            await asyncio.shield(end_process(process, timeout_s=self.stop_timeout_s))
        return await ended


async def end_process(process: Process, *, timeout_s: float) -> None:
    """Ask the process to stop, and kill it when it has not done so after `timeout_s`."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
    try:
        await asyncio.wait_for(process.wait(), timeout_s)
    except TimeoutError:
        log.error("process_killed", pid=process.pid)
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
