"""Walks along a room's graph, and what is held by snapshots of its state."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest

from tests.storage.commits import room_commit
from tim_server.matrix.identifiers import EventId
from tim_server.storage.database import Database
from tim_server.storage.event_graph import (
    WALK_BACKWARDS,
    WALK_BETWEEN,
    Between,
    load_auth_chain,
    walk_backwards,
    walk_between,
)
from tim_server.storage.state import SnapshotRow, find_in_snapshots, insert_snapshots
from tim_server.storage.store import Store

LONG = 2_000


class Room:
    """A room whose events are named by number: `edges` lead from each to those before it."""

    def __init__(self, room_nid: int, nids: Sequence[int]) -> None:
        self.nid, self.nids = room_nid, list(nids)

    def ids(self, *numbers: int) -> list[EventId]:
        return [EventId(f"$graph{self.nids[number]}") for number in numbers]

    def numbers(self, nids: Sequence[int]) -> list[int]:
        return [self.nids.index(nid) for nid in nids]


async def make_room(store: Store, edges: Sequence[Sequence[int]], *, of: str = "prev_nids") -> Room:
    commit = await room_commit(store)
    nids = [nid for start in range(0, len(edges), 500) for nid in await store.writer.take_nids(500)]
    events = tuple(
        replace(
            commit.events[0],
            nid=nids[number],
            event_id=EventId(f"$graph{nids[number]}"),
            depth=number + 1,
            **{of: tuple(nids[before] for before in edges[number])},
        )
        for number in range(len(edges))
    )
    await store.writer.commit_room(replace(commit, events=events))
    return Room(commit.room_nid, nids)


@pytest.fixture(scope="module")
async def chain(store: Store) -> Room:
    return await make_room(store, [[], *([number] for number in range(LONG - 1))])


async def rows_read(database: Database, sql: str, *arguments: Any) -> int:
    """How many events a statement looks at, over all steps."""

    def count(plan: dict[str, Any]) -> int:
        own = plan["Actual Rows"] * plan["Actual Loops"] if plan.get("Relation Name") == "events" else 0
        return int(own) + sum(count(below) for below in plan.get("Plans", ()))

    async with database.read() as tx:
        explained = await tx.fetchval(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", *arguments)
    return count(orjson.loads(explained)[0]["Plan"])


async def test_a_walk_goes_back_level_by_level_and_passes_each_event_once(store: Store) -> None:
    room = await make_room(store, [[], [0], [0], [1, 2], [1], [3, 4]])
    async with store.database.read() as tx:
        levels = room.numbers(await walk_backwards(tx, room.nid, room.ids(5), limit=10))
        some = room.numbers(await walk_backwards(tx, room.nid, room.ids(5), limit=3))
    assert (levels[0], set(levels[1:3]), set(levels[3:5]), levels[5:]) == (5, {3, 4}, {1, 2}, [0])
    assert (some[0], set(some[1:])) == (5, {3, 4})


async def test_a_walk_stays_in_its_room(store: Store, chain: Room) -> None:
    other = await make_room(store, [[]])
    async with store.database.read() as tx:
        assert await walk_backwards(tx, other.nid, chain.ids(5), limit=10) == []
        assert await walk_between(tx, other.nid, Between(latest=chain.ids(5), earliest=()), limit=10) == []


async def test_what_lies_between_ends_at_what_is_known_and_at_a_depth(store: Store) -> None:
    room = await make_room(store, [[], [0], [1], [1], [2, 3], [4]])
    cases = [
        (Between(latest=room.ids(5), earliest=room.ids(2)), {4, 3, 1, 0}),
        (Between(latest=room.ids(5), earliest=room.ids(2, 3)), {4}),
        (Between(latest=room.ids(5), earliest=room.ids(5)), {4, 3, 2, 1, 0}),
        (Between(latest=room.ids(5), earliest=(), depth_min=3), {4, 3, 2}),
        (Between(latest=room.ids(5, 4), earliest=room.ids(4)), {3, 2, 1, 0}),
    ]
    async with store.database.read() as tx:
        for between, expected in cases:
            assert set(room.numbers(await walk_between(tx, room.nid, between, limit=10))) == expected


async def test_a_walk_costs_what_it_finds_and_not_what_lies_behind(store: Store, chain: Room) -> None:
    start = [chain.ids(LONG - 1)[0]]
    assert await rows_read(store.database, WALK_BACKWARDS, chain.nid, start, 20) < 100
    assert await rows_read(store.database, WALK_BETWEEN, chain.nid, start, [], 0, 20) < 100


async def test_an_auth_chain_has_all_that_is_reached_and_each_once(store: Store) -> None:
    room = await make_room(store, [[], [0], [0, 1], [2, 1], [2]], of="auth_nids")
    async with store.database.read() as tx:
        assert room.numbers(await load_auth_chain(tx, [room.nids[3]])) == [0, 1, 2]
        assert room.numbers(await load_auth_chain(tx, [room.nids[2], room.nids[1]])) == [0, 1]
        assert await load_auth_chain(tx, [room.nids[0]]) == []


async def test_what_snapshots_hold_is_told_without_unpacking_them(store: Store) -> None:
    (room_nid, *nids) = await store.writer.take_nids(5)
    rows = [
        SnapshotRow(nid=nids[0], room_nid=room_nid, parent=None, depth=0, added=[1, 2, 3]),
        SnapshotRow(nid=nids[1], room_nid=room_nid, parent=nids[0], depth=1, added=[4], removed=[2]),
        SnapshotRow(nid=nids[2], room_nid=room_nid, parent=nids[1], depth=2, added=[2], removed=[3]),
    ]
    async with store.database.transaction() as tx:
        await insert_snapshots(tx, rows)
    async with store.database.read() as tx:
        found = await find_in_snapshots(tx, nids[:4], [2, 3, 4, 9])
        nothing = await find_in_snapshots(tx, nids[:1], [])
    assert found == {
        nids[0]: frozenset({2, 3}),
        nids[1]: frozenset({3, 4}),
        nids[2]: frozenset({2, 4}),
        nids[3]: frozenset(),
    }
    assert nothing == {nids[0]: frozenset()}
