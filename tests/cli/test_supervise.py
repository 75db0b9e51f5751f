"""The parent of workers, with small scripts as workers."""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tim_server.cli.failures import CommandFailed
from tim_server.cli.supervise import Patience, Workers

IMPATIENT = Patience(backoff_s_min=0.01, backoff_s_max=0.02, quick_deaths_max=3)

NOTES_ITS_LIFE = """
import os, signal, sys, time
from pathlib import Path
folder, index, count = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
def note(what):
    with (folder / index).open("a") as file:
        file.write(f"{what} {os.getpid()} of {count}\\n")
def stop(*_):
    note("stopped")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
note("started")
time.sleep(600)
"""

DIES_AT_ONCE = "import sys; sys.exit(3)"

IS_STUBBORN = """
import signal, sys, time
from pathlib import Path
signal.signal(signal.SIGTERM, signal.SIG_IGN)
(Path(sys.argv[1]) / sys.argv[2]).write_text("started 0 of 1\\n")
time.sleep(600)
"""


def workers_of(script: str, folder: Path, *, count: int = 2, patience: Patience = IMPATIENT) -> Workers:
    command = (sys.executable, "-c", script)
    return Workers(config=folder, count=count, command=command, stop_timeout_s=0.5, patience=patience)


def lives(folder: Path) -> list[list[str]]:
    return [line.split() for path in sorted(folder.iterdir()) for line in path.read_text().splitlines()]


async def until_lives(folder: Path, count: int) -> list[list[str]]:
    deadline = time.monotonic() + 20
    while len(found := lives(folder)) < count:
        assert time.monotonic() < deadline, f"only {found}"
        await asyncio.sleep(0.02)
    return found


@contextlib.asynccontextmanager
async def supervised(workers: Workers) -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    task = asyncio.ensure_future(workers.supervise(stop))
    yield stop
    stop.set()
    await task


async def test_all_workers_run_and_stop_together(tmp_path: Path) -> None:
    async with supervised(workers_of(NOTES_ITS_LIFE, tmp_path, count=3)):
        await until_lives(tmp_path, 3)
    found = lives(tmp_path)
    assert [what for what, *_ in found] == ["started", "stopped"] * 3
    assert {count for *_, count in found} == {"3"}


async def test_a_killed_worker_is_started_again(tmp_path: Path) -> None:
    async with supervised(workers_of(NOTES_ITS_LIFE, tmp_path, count=1)):
        ((_, pid, *_),) = await until_lives(tmp_path, 1)
        os.kill(int(pid), signal.SIGKILL)
        (_, (_, second, *_)) = await until_lives(tmp_path, 2)
    assert second != pid
    assert [what for what, *_ in lives(tmp_path)] == ["started", "started", "stopped"]


async def test_workers_that_keep_dying_are_given_up(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="ended 3 times shortly after its start"):
        await workers_of(DIES_AT_ONCE, tmp_path).supervise(asyncio.Event())


async def test_a_worker_that_does_not_stop_is_killed(tmp_path: Path) -> None:
    started = time.monotonic()
    async with supervised(workers_of(IS_STUBBORN, tmp_path, count=1)):
        await until_lives(tmp_path, 1)
    assert time.monotonic() - started < 10


def test_the_time_between_starts_doubles_up_to_its_bound() -> None:
    patience = Patience(backoff_s_min=0.5, backoff_s_max=3.0)
    assert [patience.backoff_s(deaths) for deaths in (1, 2, 3, 4, 50)] == [0.5, 1.0, 2.0, 3.0, 3.0]
