"""Processes for heavy work: one that dies is replaced, and none outlives the server."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tim_server.matrix.errors import Unavailable
from tim_server.services.process_pool import ATTEMPTS_MAX, ProcessPool
from tim_server.storage.embedded_process import is_alive

ROOT = Path(__file__).resolve().parents[2]

START_AND_HANG = """
import asyncio, os
from tests.services.test_process_pool import own_pid
from tim_server.services.process_pool import ProcessPool
async def main():
    print(await ProcessPool(work="test").run(own_pid, 0), flush=True)
    await asyncio.sleep(600)
if __name__ == "__main__":
    asyncio.run(main())
"""


def own_pid(_: int) -> int:
    """The process that this runs in."""
    return os.getpid()


def die(_: int) -> None:
    """As the kernel does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def fail(text: str) -> None:
    """Raises."""
    raise ValueError(text)


@pytest.fixture
def pool():
    """One process."""
    pool = ProcessPool(work="test")
    yield pool
    pool.close()


async def test_a_process_that_died_is_replaced(pool: ProcessPool) -> None:
    pid = await pool.run(own_pid, 0)
    assert pid != os.getpid()
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(0.1)
    replacement = await pool.run(own_pid, 0)
    assert replacement not in (pid, os.getpid())


async def test_what_kills_every_process_is_given_up(pool: ProcessPool) -> None:
    with pytest.raises(Unavailable):
        await pool.run(die, ATTEMPTS_MAX)
    assert await pool.run(own_pid, 0)


async def test_errors_come_back(pool: ProcessPool) -> None:
    with pytest.raises(ValueError, match="no"):
        await pool.run(fail, "no")


async def test_no_process_outlives_a_server_that_was_killed(tmp_path: Path) -> None:
    script = tmp_path / "server.py"
    script.write_text(START_AND_HANG)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen([sys.executable, script], env=environment, stdout=subprocess.PIPE, text=True)  # noqa: ASYNC220
    assert server.stdout is not None
    pid = int(await asyncio.to_thread(server.stdout.readline))
    server.kill()
    server.wait()
    for _ in range(100):
        if not is_alive(pid):
            return
        await asyncio.sleep(0.05)
    raise AssertionError("the process is still there")


async def test_processes_without_work_end_after_a_while() -> None:
    pool = ProcessPool(work="test", idle_s=0.3)
    try:
        pid = await pool.run(own_pid, 0)
        assert await pool.run(own_pid, 0) == pid
        assert is_alive(pid)
        await asyncio.sleep(1.5)
        assert not is_alive(pid)
        assert await pool.run(own_pid, 0) != pid
    finally:
        pool.close()
