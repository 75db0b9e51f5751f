"""Branches of a room do not pile up."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.eventually import eventually
from tests.services.rooms.conftest import ALICE, BOB, SERVER, Rooms
from tests.services.rooms.forks import CAROL, room_with_carol
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.merge_branches import BRANCHES_MAX, DUMMY, BranchMerge
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.events import load_events_by_id


@pytest.fixture(autouse=True)
async def merge(rooms: Rooms) -> AsyncIterator[BranchMerge]:
    merge = BranchMerge(server_name=SERVER, queues=rooms.queues, pause_s=0.05)
    rooms.queues.on_received = merge.look
    yield merge
    await merge.close()


async def branch(rooms: Rooms, count: int, **power: object) -> tuple[RoomId, list[Event]]:
    """A room with so many branches, by Carol."""
    room_id, fork = await room_with_carol(rooms, **power)  # type: ignore[arg-type]
    prev, depth, branches = fork.prev, fork.depth, []
    for number in range(count):
        fork.prev, fork.depth = prev, depth
        branches.append(fork.make("m.room.message", {"body": f"branch {number}"}))
    for start in range(0, count, 20):
        await rooms.queues.submit(room_id, Incoming(events=tuple(branches[start : start + 20])))
    return room_id, branches


async def extremities(rooms: Rooms, room_id: RoomId) -> list[EventId]:
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    return [event_id for _, event_id in head.extremities]


@pytest.mark.parametrize("count", [BRANCHES_MAX + 1, 20, 100])
async def test_many_branches_are_merged_by_an_event_that_clients_do_not_see(rooms: Rooms, count: int) -> None:
    position = rooms.store.commit_log.position
    room_id, _ = await branch(rooms, count)
    found = await eventually(lambda: extremities(rooms, room_id), lambda found: len(found) <= BRANCHES_MAX)
    async with rooms.store.database.connection() as connection:
        row = (await load_events_by_id(connection, rooms.store.codec, [found[-1]]))[found[-1]]
    assert (row.type, row.sender, row.position) == (DUMMY, ALICE, None)
    shown = [
        row.type for e in rooms.store.commit_log.since(position) or () for rows in e.events.values() for row in rows
    ]
    assert DUMMY not in shown
    owed = {
        nid for e in rooms.store.commit_log.since(position) or () for events in e.owed.values() for _, nid in events
    }
    assert row.nid in owed
    after = await rooms.send(room_id, ALICE)
    assert await extremities(rooms, room_id) == [after]


async def test_few_branches_are_left_to_the_next_who_says_something(rooms: Rooms, merge: BranchMerge) -> None:
    room_id, _ = await branch(rooms, BRANCHES_MAX)
    assert not merge._running
    assert len(await extremities(rooms, room_id)) == BRANCHES_MAX


async def test_who_may_not_send_such_an_event_is_not_asked_to(rooms: Rooms) -> None:
    power = {"users": {str(BOB): 50, str(ALICE): 100, str(CAROL): 60}, "events": {DUMMY: 60}}
    room_id, _ = await branch(rooms, BRANCHES_MAX + 1, **power)
    found = await eventually(lambda: extremities(rooms, room_id), lambda found: len(found) <= BRANCHES_MAX)
    async with rooms.store.database.connection() as connection:
        row = (await load_events_by_id(connection, rooms.store.codec, [found[-1]]))[found[-1]]
    assert row.sender == ALICE


async def test_where_nobody_may_nothing_is_sent(rooms: Rooms, merge: BranchMerge) -> None:
    power = {"users": {str(ALICE): 100}, "events": {DUMMY: 101}}
    room_id, branches = await branch(rooms, BRANCHES_MAX + 1, **power)
    await eventually(lambda: _is_idle(merge))
    assert await extremities(rooms, room_id) == [event.event_id for event in branches]


async def _is_idle(merge: BranchMerge) -> bool:
    return not merge._running


async def test_what_is_said_at_the_same_moment_leaves_in_order_as_well(rooms: Rooms, merge: BranchMerge) -> None:
    room_id, _ = await branch(rooms, 2)
    position = rooms.store.commit_log.position
    merging = DraftGroup(drafts=(Draft(type=DUMMY, sender=ALICE, content={}, is_hidden=True),))
    said = await asyncio.gather(
        rooms.send(room_id, ALICE), rooms.queues.submit(room_id, merging), rooms.send(room_id, ALICE)
    )
    owed = [each for e in rooms.store.commit_log.since(position) or () for events in e.owed.values() for each in events]
    positions = [each.position for each in owed]
    assert len(said) == len(owed) and positions == sorted({*positions})
