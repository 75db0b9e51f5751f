"""The server's event loop: signals, and what runs beside the server."""

import asyncio
import os
import signal

import pytest

from tim_server.cli.event_loop import run, until_done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop(number: signal.Signals) -> None:
    async def main(stop: asyncio.Event) -> str:
        os.kill(os.getpid(), number)
        async with asyncio.timeout(5):
            await stop.wait()
        return "stopped"

    assert run(main) == "stopped"


async def test_companions_end_with_the_main_work() -> None:
    ended = asyncio.Event()

    async def main() -> int:
        await asyncio.sleep(0)
        return 7

    async def companion() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    assert await until_done(main(), companion()) == 7
    assert ended.is_set()


async def test_a_companion_that_fails_ends_the_main_work() -> None:
    async def companion() -> None:
        raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        await until_done(asyncio.sleep(60), companion())
