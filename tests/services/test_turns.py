"""Others get a turn while many items are worked on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tim_server.services.turns import in_turns


@contextlib.asynccontextmanager
async def stretches() -> AsyncIterator[list[int]]:
    """A list whose last number is to be counted up; another one is begun whenever others have had a turn."""
    counts = [0]

    async def take_turns() -> None:
        while True:
            counts.append(0)
            await asyncio.sleep(0)

    task = asyncio.create_task(take_turns())
    yield counts
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_items_come_in_order_and_others_get_turns_between_them() -> None:
    async with stretches() as counts:
        seen = []
        async for item in in_turns(range(50), per_turn=20):
            seen.append(item)
            counts[-1] += 1
    assert seen == [*range(50)]
    assert [count for count in counts if count] == [20, 20, 10]


async def test_few_items_take_no_pause() -> None:
    async with stretches() as counts:
        async for _ in in_turns(range(20), per_turn=20):
            counts[-1] += 1
    assert max(counts) == 20
