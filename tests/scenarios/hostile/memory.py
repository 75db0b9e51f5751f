"""How much memory a process takes, by default this one, servers included."""

import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def resident_bytes(pid: int | None = None) -> int:
    """What the process has in memory now."""
    return int(Path(f"/proc/{pid or os.getpid()}/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def growth_bytes() -> Iterator[Callable[[], int]]:
    """A function that tells by how much this process has grown."""
    before = resident_bytes()
    yield lambda: resident_bytes() - before
