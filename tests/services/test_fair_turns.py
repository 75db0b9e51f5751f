"""Turns: so many at once, and fewer for each who asks."""

import asyncio

import pytest

from tim_server.matrix.errors import Unavailable
from tim_server.services.fair_turns import FairTurns


async def hold(turns: FairTurns, key: str, until: asyncio.Event) -> None:
    async with turns.of(key):
        await until.wait()


async def test_who_asks_often_waits_for_their_own_work() -> None:
    turns, end = FairTurns(at_once_max=2), asyncio.Event()
    greedy = [asyncio.create_task(hold(turns, "a", end)) for _ in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), turns.of("b"):
        end.set()
    await asyncio.gather(*greedy)
    assert len(turns._of_keys) == 0, "nothing is remembered of who has been here"


async def test_there_is_no_waiting_without_an_end() -> None:
    turns, end = FairTurns(at_once_max=1, per_key_max=2, timeout_s=0.05), asyncio.Event()
    first = asyncio.create_task(hold(turns, "a", end))
    await asyncio.sleep(0)
    for key in ("a", "b"):
        with pytest.raises(Unavailable):
            async with turns.of(key):
                pass
    end.set()
    await first
    async with turns.of("b"):
        pass
