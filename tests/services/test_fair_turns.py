"""Turns: so many at once, and fewer for each who asks."""

import asyncio

import pytest

from tim_server.matrix.errors import LimitExceeded, Unavailable
from tim_server.services.fair_turns import FairTurns, OwnTurns


async def hold(turns: FairTurns, key: str, until: asyncio.Event) -> None:
    async with turns.of(key):
        await until.wait()


async def test_who_asks_often_waits_for_their_own_work() -> None:
    turns, end = FairTurns(at_once_max=2, of_askers=OwnTurns(per_key_max=1)), asyncio.Event()
    greedy = [asyncio.create_task(hold(turns, "a", end)) for _ in range(5)]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), turns.of("b"):
        end.set()
    await asyncio.gather(*greedy)
    assert not turns.of_askers._asking, "nothing is remembered of who has been here"


async def test_there_is_no_waiting_without_an_end() -> None:
    turns, end = FairTurns(at_once_max=1, of_askers=OwnTurns(per_key_max=2), timeout_s=0.05), asyncio.Event()
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


async def test_who_waits_for_what_others_wait_for_keeps_nobody_from_the_rest() -> None:
    turns = FairTurns(at_once_max=2, of_askers=OwnTurns(per_key_max=2), of_others=OwnTurns(per_key_max=1))
    end = asyncio.Event()

    async def hold_slow(asker: str) -> None:
        async with turns.of(asker, "slow"):
            await end.wait()

    waiting = [asyncio.create_task(hold_slow(asker)) for asker in ("a", "b", "c")]
    await asyncio.sleep(0)
    async with asyncio.timeout(1), turns.of("b", "quick"):
        end.set()
    await asyncio.gather(*waiting)


async def test_so_many_of_a_key_may_wait() -> None:
    turns, end = FairTurns(at_once_max=5, of_askers=OwnTurns(per_key_max=1, asked_max=2)), asyncio.Event()
    greedy = [asyncio.create_task(hold(turns, "a", end)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(LimitExceeded):
        async with turns.of("a"):
            pass
    async with asyncio.timeout(1), turns.of("b"):
        end.set()
    await asyncio.gather(*greedy)
