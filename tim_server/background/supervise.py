"""Supervised loops: a loop that fails is logged and started again, with a growing pause."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

PAUSE_S_MAX = 60.0

log = structlog.get_logger("background")


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """A job done again and again: `work` every `interval_s`, the first time after one interval."""

    name: str
    interval_s: float
    work: Callable[[], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Supervised:
    """Loops that run."""

    tasks: "tuple[asyncio.Task[None], ...]"

    async def stop(self) -> None:
        """Cancel the loops and wait for them."""
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


def supervise(loops: Sequence[Loop]) -> Supervised:
    """Start the loops."""
    return Supervised(tuple(asyncio.create_task(_run(loop), name=loop.name) for loop in loops))


async def _run(loop: Loop) -> None:
    pause_s = loop.interval_s
    while True:
        await asyncio.sleep(pause_s)
        try:
            await loop.work()
            pause_s = loop.interval_s
        except Exception:
            log.exception("a background loop failed and will be tried again", loop=loop.name)
            pause_s = min(max(pause_s * 2, 1.0), max(PAUSE_S_MAX, loop.interval_s))
