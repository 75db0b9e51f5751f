"""Which PostgreSQL processes belong to a data folder, and who owns the folder.

PostgreSQL's own `postmaster.pid` and socket lock survive SIGKILL and name a process id that may by then be somebody
else's. What counts here is `/proc`: a server process is one whose working directory is the data folder.
"""

import fcntl
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

POLL_INTERVAL_S = 0.02
_PROC = Path("/proc")
_READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class PostmasterFile:
    """What `postmaster.pid` says."""

    pid: int
    socket_folder: str
    is_ready: bool

    @classmethod
    def read(cls, data_folder: Path) -> Self | None:
        """The file's content, or None where it is missing or incomplete."""
        try:
            lines = (data_folder / "postmaster.pid").read_text(errors="replace").splitlines()
            pid = int(lines[0])
        except (OSError, ValueError, IndexError):
            return None
        return cls(
            pid=pid,
            socket_folder=lines[4] if len(lines) > 4 else "",
            is_ready=len(lines) > 7 and lines[7].strip() == _READY,
        )


def processes_in(data_folder: Path) -> list[int]:
    """Ids of the live processes that work in `data_folder`; empty on systems without /proc."""
    real = str(data_folder.resolve())
    found = []
    for entry in _PROC.glob("[0-9]*"):
        try:
            if str((entry / "cwd").readlink()) == real and not _is_zombie(entry):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def _is_zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] == "Z"


def is_alive(pid: int) -> bool:
    """Whether any process has this id."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def wait_until_gone(data_folder: Path, *, timeout_s: float) -> bool:
    """Wait until no process works in `data_folder`; False when some still does after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while processes_in(data_folder):
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_INTERVAL_S)
    return True


def stop_leftovers(data_folder: Path) -> None:
    """End a server, or the remains of one, that a killed process left running on `data_folder`."""
    postmaster = PostmasterFile.read(data_folder)
    leftovers = processes_in(data_folder)
    if postmaster and postmaster.pid in leftovers:
        _signal([postmaster.pid], signal.SIGINT)  # fast shutdown
        if wait_until_gone(data_folder, timeout_s=15):
            return
        _signal([postmaster.pid], signal.SIGQUIT)  # immediate shutdown
    # Backends notice by themselves, quickly, that their postmaster is gone.
    if not wait_until_gone(data_folder, timeout_s=5):
        _signal(processes_in(data_folder), signal.SIGKILL)
        wait_until_gone(data_folder, timeout_s=5)


def _signal(pids: list[int], number: int) -> None:
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def remove_misleading_pid_file(data_folder: Path) -> None:
    """Remove a `postmaster.pid` whose id now belongs to an unrelated process; PostgreSQL would take it for a server.

    A file that names a dead process stays: PostgreSQL handles it, with checks of its own.
    """
    postmaster = PostmasterFile.read(data_folder)
    if postmaster and _PROC.is_dir() and is_alive(postmaster.pid) and not processes_in(data_folder):
        (data_folder / "postmaster.pid").unlink(missing_ok=True)


class OwnerLock:
    """Which process starts and stops the server of a folder. The kernel frees it when that process dies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None

    def take(self) -> bool:
        """Become the owner; False when a live process is it."""
        descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return False
        self._descriptor = descriptor
        return True

    @property
    def is_held(self) -> bool:
        """Whether this object is the owner."""
        return self._descriptor is not None

    def release(self) -> None:
        """Give the folder up; nothing happens when it was not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
