"""The folder of a demonstration of which nothing is kept: it is gone afterwards, PostgreSQL with it, also where the
demonstration is killed.

A process of its own sees to that, `python -m tim_server.cli.demo_folder FOLDER`. Its standard input is a pipe from the
demonstration, which closes when that ends, in whatever way.
"""

import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tim_server.storage.embedded_process import stop_leftovers

POSTGRES_FOLDER = "postgresql"
CLEANING_S_MAX = 10.0
CLEANING_INTERVAL_S = 0.1


@contextmanager
def passing_folder(mode: int) -> Iterator[Path]:
    """A folder with this mode, in which `POSTGRES_FOLDER` is that of an embedded PostgreSQL."""
    folder = Path(tempfile.mkdtemp(prefix="tim-server-demo-"))
    # A session of its own keeps the terminal's Ctrl-C away, and what ends the demonstration's processes together.
    command = [sys.executable, "-m", "tim_server.cli.demo_folder", str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True):
        folder.chmod(mode)
        yield folder


def clean_up(folder: Path) -> None:
    """End what is left of PostgreSQL, then remove the folder; other processes may need a moment to leave it."""
    deadline = time.monotonic() + CLEANING_S_MAX
    while folder.exists() and time.monotonic() < deadline:
        stop_leftovers(folder / POSTGRES_FOLDER / "data")
        shutil.rmtree(folder, ignore_errors=True)
        time.sleep(CLEANING_INTERVAL_S)


if __name__ == "__main__":
    sys.stdin.buffer.read()
    clean_up(Path(sys.argv[1]))
