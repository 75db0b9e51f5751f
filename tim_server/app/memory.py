"""How the C library keeps memory that was freed."""

import ctypes
from contextlib import suppress

_M_MMAP_THRESHOLD = -3  # malloc.h of glibc
_THRESHOLD_BYTES = 2**20


def give_back_freed_memory() -> None:
    """Have blocks of 1 MiB and more go back to the system when they are freed.

    Without, glibc raises that threshold to the size of the largest block that was ever freed: after the first
    passwords, each thread that hashes would keep 19 MiB for ever. Where there is no glibc, nothing happens.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
