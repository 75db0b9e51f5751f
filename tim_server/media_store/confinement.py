"""Bounds of what reads hostile content, set by itself in a process of its own."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEMORY_BYTES_MAX = 2**30
_PRIORITY = 10
_FIRST_TO_END = "1000"


@contextmanager
def confined(timeout_s: int) -> Iterator[None]:
    """The process ends where what is done here takes longer, gets `MEMORY_BYTES_MAX` of memory, is less urgent than the
    server, and the first to end where the machine has no memory left."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    os.setpriority(os.PRIO_PROCESS, 0, _PRIORITY)
    with suppress(OSError):  # where there is no Linux
        Path("/proc/self/oom_score_adj").write_text(_FIRST_TO_END)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.alarm(timeout_s)
    try:
        yield
    finally:
        signal.alarm(0)
