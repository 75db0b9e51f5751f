"""Turns: work over many items lets other requests go on from time to time."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import TypeVar

T = TypeVar("T")

ITEMS_PER_TURN = 200


async def in_turns(items: Iterable[T], *, per_turn: int = ITEMS_PER_TURN) -> AsyncIterator[T]:
    """The items in order; others get a turn after each `per_turn` of them."""
    for number, item in enumerate(items):
        if number and number % per_turn == 0:
            await asyncio.sleep(0)
        yield item
