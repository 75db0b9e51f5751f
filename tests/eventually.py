"""Waiting for what another server is about to do."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

PATIENCE_S = 20.0
INTERVAL_S = 0.1

T = TypeVar("T")


async def eventually(
    look: Callable[[], Awaitable[T]], holds: Callable[[T], Any] = bool, patience_s: float = PATIENCE_S
) -> T:
    """What `look` gives, once it `holds`; fails with the last of it when that takes too long."""
    deadline = asyncio.get_running_loop().time() + patience_s
    while True:
        seen = await look()
        if holds(seen):
            return seen
        assert asyncio.get_running_loop().time() < deadline, f"did not come about; the last that was seen: {seen!r}"
        await asyncio.sleep(INTERVAL_S)
