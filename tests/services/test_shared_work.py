"""Work that many ask for at once: done once, in the turn of one who asks."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tim_server.matrix.errors import NotFound
from tim_server.services.fair_turns import OwnTurns
from tim_server.services.shared_work import SharedWork


class Work:
    """What is done, how often, and when it ends."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.end = asyncio.Event()
        self.error = error

    async def __call__(self) -> str:
        self.begun += 1
        await self.end.wait()
        if self.error is not None:
            raise self.error
        return "done"


@pytest.fixture
def shared() -> SharedWork[str, str]:
    return SharedWork(refusals=(NotFound,), now_ms=lambda: 0)


@pytest.fixture
def turns() -> OwnTurns:
    return OwnTurns(per_key_max=1)


async def begun(*asked: "asyncio.Task[str]") -> None:
    for _ in range(5):
        await asyncio.sleep(0)
    assert not any(task.done() for task in asked)


async def test_who_asks_for_the_same_waits_for_the_same(shared: SharedWork[str, str], turns: OwnTurns) -> None:
    work = Work()
    asked = [asyncio.create_task(shared.get("x", work, turn=turns.of(asker))) for asker in ("a", "a", "b")]
    await begun(*asked)
    work.end.set()
    assert await asyncio.gather(*asked) == ["done"] * 3
    assert work.begun == 1 and not turns._asking


async def test_a_turn_lasts_until_the_work_ends_whoever_leaves(shared: SharedWork[str, str], turns: OwnTurns) -> None:
    slow, other = Work(), Work()
    first = asyncio.create_task(shared.get("slow", slow, turn=turns.of("a")))
    await begun(first)
    first.cancel()
    second = asyncio.create_task(shared.get("other", other, turn=turns.of("a")))
    await begun(second)
    assert (slow.begun, other.begun) == (1, 0)
    slow.end.set()
    other.end.set()
    assert await second == "done"
    assert not turns._asking


async def test_who_waits_for_a_turn_keeps_nobody_from_the_same(shared: SharedWork[str, str], turns: OwnTurns) -> None:
    slow, work = Work(), Work()
    busy = asyncio.create_task(shared.get("slow", slow, turn=turns.of("a")))
    waiting = asyncio.create_task(shared.get("x", work, turn=turns.of("a")))
    await begun(busy, waiting)
    work.end.set()
    assert await shared.get("x", work, turn=turns.of("b")) == "done"
    assert not waiting.done()
    slow.end.set()
    assert await asyncio.gather(busy, waiting) == ["done", "done"]


async def test_refusals_are_told_without_a_turn_and_after_one(shared: SharedWork[str, str], turns: OwnTurns) -> None:
    slow, work = Work(), Work(NotFound("nothing"))
    busy = asyncio.create_task(shared.get("slow", slow, turn=turns.of("a")))
    waiting = asyncio.create_task(shared.get("x", work, turn=turns.of("a")))
    await begun(busy, waiting)
    work.end.set()
    with pytest.raises(NotFound):
        await shared.get("x", work, turn=turns.of("b"))
    with pytest.raises(NotFound):
        await shared.get("x", work, turn=_none())
    slow.end.set()
    with pytest.raises(NotFound, match="nothing"):
        await waiting
    await busy
    assert work.begun == 1 and not turns._asking


@asynccontextmanager
async def _none() -> AsyncIterator[None]:
    raise AssertionError("nobody waits for a turn in vain")
    yield
