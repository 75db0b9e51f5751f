"""Running the server's event loop: uvloop where it is installed, and signals that ask it to stop."""

import asyncio
import gc
import signal
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

GC_THRESHOLDS = (10_000, 20, 50)
"""A full collection looks at all that caches hold, and nothing else runs for a tenth of a second: it is made rare. What
the code drops is freed at once in any case; only cycles wait."""


def run(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    """Run `main(stop)`; SIGTERM and SIGINT set `stop`."""
    gc.set_threshold(*GC_THRESHOLDS)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(_with_signals(main))


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


async def _with_signals(main: Callable[[asyncio.Event], Coroutine[Any, Any, T]]) -> T:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return await main(stop)


async def until_done(main: Coroutine[Any, Any, T], *companions: Coroutine[Any, Any, Any]) -> T:
    """Run `main` with `companions` beside it, which end when it does; the first that fails ends them all."""
    tasks = [asyncio.ensure_future(main), *map(asyncio.ensure_future, companions)]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks[1:]:
            if task.done():
                task.result()
        result: T = await tasks[0]
        return result
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
