"""EDUs of several sources in one transaction: places, what is left over, what is asked of whom."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from tim_server.matrix.identifiers import ServerName
from tim_server.services.transactions.destination import Destination
from tim_server.services.transactions.edus import NOBODY, Asked, Concerned, DueEdus, Edu, EduSource
from tim_server.services.transactions.gather_edus import EduGathering
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import Connection
from tim_server.storage.store import Store


@dataclass
class Owing(EduSource):
    """Owes what a test says, once: from the log's tail, or from the database only."""

    name: str = ""
    edus: list[Edu] = field(default_factory=list)
    has_tail: bool = True
    more: bool = False
    fails: bool = False
    asked: list[tuple[str, Asked]] = field(default_factory=list)

    def concerned(self, entry: CommitEntry) -> Concerned:
        return NOBODY

    async def from_tail(self, asked: Asked, entries: Sequence[CommitEntry]) -> DueEdus | None:
        self.asked.append(("tail", asked))
        return self._due(asked) if self.has_tail else None

    async def from_database(self, tx: Connection, asked: Asked) -> DueEdus:
        self.asked.append(("database", asked))
        assert await tx.fetchval("SELECT 1") == 1
        if self.fails:
            raise ZeroDivisionError
        return self._due(asked)

    def _due(self, asked: Asked) -> DueEdus:
        edus, self.edus = self.edus, []
        return DueEdus(edus=edus, cursor=asked.up_to, more=self.more)


def some(name: str, count: int, size: int = 0) -> list[Edu]:
    return [Edu(edu_type=name, content={"number": number, "text": "x" * size}) for number in range(count)]


def destination() -> Destination:
    return Destination(name=ServerName("b.example"))


async def gather(store: Store, of: Destination, *sources: EduSource) -> list[Any]:
    gathered = await EduGathering(store=store, sources=sources).gather(of)
    of.cursors |= gathered.cursors
    return [orjson.loads(edu) for edu in gathered.edus]


async def test_only_those_are_asked_that_may_owe_something(store: Store) -> None:
    typing, receipts = Owing("typing", some("typing", 1)), Owing("receipts", some("receipts", 1))
    of = destination()
    of.touch("typing", store.commit_log.position, room=3)
    assert [edu["edu_type"] for edu in await gather(store, of, receipts, typing)] == ["typing"]
    assert not receipts.asked and not of.is_owed
    ((where, asked),) = typing.asked
    assert where == "tail" and asked.rooms == frozenset({3}) and asked.after == store.commit_log.position


async def test_where_nothing_is_known_the_database_is_asked_of_all(store: Store) -> None:
    sources = [Owing("typing"), Owing("receipts", some("receipts", 2))]
    of = destination()
    of.cursors["receipts"] = 5
    of.ask_all()
    assert len(await gather(store, of, *sources)) == 2
    assert [source.asked[0][0] for source in sources] == ["database", "database"]
    assert [source.asked[0][1].rooms for source in sources] == [None, None]
    assert [source.asked[0][1].after for source in sources] == [0, 5]
    assert not of.is_owed


async def test_what_finds_no_place_comes_with_the_next_transactions(store: Store) -> None:
    first, second = Owing("first", some("first", 250)), Owing("second", some("second", 3))
    of = destination()
    for name in ("first", "second"):
        of.touch(name, store.commit_log.position)
    pages = [await gather(store, of, first, second) for _ in range(3)]
    assert [len(page) for page in pages] == [100, 100, 53]
    numbers = [edu["content"]["number"] for page in pages for edu in page if edu["edu_type"] == "first"]
    assert numbers == list(range(250))
    assert len(first.asked) == len(second.asked) == 1
    assert not of.is_owed and of.cursors["first"] == store.commit_log.position


async def test_a_cursor_moves_only_with_the_last_of_what_it_covers(store: Store) -> None:
    of = destination()
    of.touch("first", store.commit_log.position)
    source = Owing("first", some("first", 101))
    gathering = EduGathering(store=store, sources=[source])
    assert (await gathering.gather(of)).cursors == {}
    assert (await gathering.gather(of)).cursors == {"first": store.commit_log.position}


async def test_bytes_bound_a_transaction_too(store: Store) -> None:
    of = destination()
    of.touch("first", store.commit_log.position)
    source = Owing("first", some("first", 20, size=60_000))
    sizes = []
    while of.is_owed:
        sizes.append(len(await gather(store, of, source)))
    assert sizes == [8, 8, 4]


async def test_a_source_that_has_more_is_asked_again(store: Store) -> None:
    of = destination()
    of.touch("first", store.commit_log.position, room=1)
    source = Owing("first", some("first", 1), has_tail=False, more=True)
    await gather(store, of, source)
    assert of.touched["first"].rooms == {1} and of.touched["first"].since == store.commit_log.position
    source.more = False
    await gather(store, of, source)
    assert not of.is_owed


async def test_after_a_failure_all_are_asked(store: Store) -> None:
    of = destination()
    of.touch("first", store.commit_log.position)
    with pytest.raises(ZeroDivisionError):
        await gather(store, of, Owing("first", has_tail=False, fails=True))
    assert of.asks_all


async def test_what_is_noted_while_sources_are_asked_stays_noted(store: Store) -> None:
    of = destination()
    of.touch("first", store.commit_log.position)

    class Interrupted(Owing):
        async def from_tail(self, asked: Asked, entries: Sequence[CommitEntry]) -> DueEdus | None:
            of.touch("first", asked.up_to, room=9)
            return await super().from_tail(asked, entries)

    await gather(store, of, Interrupted("first", some("first", 1)))
    assert of.touched["first"].rooms == {9}
