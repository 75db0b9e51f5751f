"""How much memory this process takes, servers included."""

import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def resident_bytes() -> int:
    """What the process has in memory now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@contextmanager
def growth_bytes() -> Iterator[Callable[[], int]]:
    """A function that tells by how much it has grown."""
    before = resident_bytes()
    yield lambda: resident_bytes() - before
