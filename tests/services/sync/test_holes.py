"""Timelines of sync do not cross holes: what this server has not fetched is told as a gap.

Spec: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3sync_response-200_timeline
"""

from dataclasses import replace
from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, Rooms
from tests.services.rooms.forks import Fork, fork_of, room_with_carol
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids, keys
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.rooms.decide import Decision
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.queue import DecidedAlone
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.history_fill import HistoryFill
from tim_server.storage.holes import HoleRow, find_newest_hole
from tim_server.storage.new_events import NewEvent, PlacedEvent
from tim_server.storage.room_commit_records import Hole

MISSING = (EventId("$missing"),)


async def receive_behind_hole(rooms: Rooms, room_id: RoomId, event: Event) -> None:
    """An event arrives of which not all prev_events could be had."""

    async def decide(head: RoomHead) -> Decision:
        decision = await rooms.queues.receiver.decide(head, Incoming(events=(event,)))
        assert decision.commit is not None
        return replace(decision, commit=replace(decision.commit, holes=(Hole(event_index=0, missing=MISSING),)))

    await rooms.queues.submit(room_id, DecidedAlone(decide=decide))


async def hole_of(rooms: Rooms, room_nid: int) -> HoleRow:
    async with rooms.store.database.read() as tx:
        hole = await find_newest_hole(tx, room_nid, after=(0, 0), until=(2**60, 0), failures_max=8)
    assert hole is not None
    return hole


async def fill(rooms: Rooms, fork: Fork, hole: HoleRow, missing: tuple[EventId, ...] = ()) -> EventId:
    """Somebody reads as far as the hole, and a message is fetched into it."""
    event = fork.make("m.room.message", {"body": "fetched", "msgtype": "m.text"})
    (nid,) = await rooms.store.writer.take_nids(1)
    head = await rooms.queues.heads.get(fork.room_id)
    assert head is not None
    new = NewEvent(
        nid=nid,
        event_id=event.event_id,
        type=event.type,
        state_key=None,
        sender=event.sender,
        origin_server_ts=event.origin_server_ts,
        depth=event.depth,
        prev_nids=(),
        auth_nids=(),
        body=b"{}",
        snapshot=head.snapshot,
    )
    placed = PlacedEvent(new, hole.room_nid, hole.position, hole.minor - 1)
    moved = replace(hole, minor=hole.minor - 1, missing=missing)
    write = HistoryFill(codec=rooms.store.codec, hole=hole, moved=moved, events=(placed,))
    assert await rooms.store.writer.write(write)
    assert not await rooms.store.writer.write(write), "the hole has moved"
    return event.event_id


@pytest.mark.parametrize("from_memory", [True, False])
async def test_the_next_sync_tells_a_gap_where_the_hole_is(rooms: Rooms, device: MakeDevice, from_memory: bool) -> None:
    room_id, _ = await room_with_carol(rooms)
    alice = device(ALICE)
    await alice.next()
    before = await rooms.send(room_id, ALICE)
    if from_memory:
        assert ids(await alice.joined(room_id)) == [before]
    event = (await fork_of(rooms, room_id)).make("m.room.message", {"body": "behind"})
    await receive_behind_hole(rooms, room_id, event)
    after = await rooms.send(room_id, ALICE)
    told = await alice.joined(room_id)
    assert (ids(told), told["timeline"]["limited"]) == ([event.event_id, after], True)
    assert told["timeline"]["prev_batch"].endswith("_-1")


async def test_who_waits_is_woken_by_an_event_behind_a_hole(rooms: Rooms, device: MakeDevice) -> None:
    room_id, _ = await room_with_carol(rooms)
    alice = device(ALICE)
    await alice.next()
    await alice.ask()
    event = (await fork_of(rooms, room_id)).make("m.room.message", {"body": "behind"})
    await receive_behind_hole(rooms, room_id, event)
    told = (await alice.next(timeout_ms=5_000))["rooms"]["join"][room_id]
    assert (ids(told), told["timeline"]["limited"]) == ([event.event_id], True)


async def test_state_that_changed_before_the_hole_is_told_with_the_gap(rooms: Rooms, device: MakeDevice) -> None:
    room_id, _ = await room_with_carol(rooms)
    alice = device(ALICE)
    await alice.next()
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    event = (await fork_of(rooms, room_id)).make("m.room.message", {"body": "behind"})
    await receive_behind_hole(rooms, room_id, event)
    told = await alice.joined(room_id)
    assert ids(told) == [event.event_id]
    assert ("m.room.name", "") in keys(told)


async def test_a_first_sync_begins_behind_the_hole(rooms: Rooms, device: MakeDevice) -> None:
    room_id, _ = await room_with_carol(rooms)
    event = (await fork_of(rooms, room_id)).make("m.room.message", {"body": "behind"})
    await receive_behind_hole(rooms, room_id, event)
    told = await device(ALICE).joined(room_id)
    assert (ids(told), told["timeline"]["limited"]) == ([event.event_id], True)


@pytest.mark.parametrize("missing", [(), (EventId("$older"),)])
async def test_what_was_fetched_meanwhile_is_no_part_of_a_timeline_and_still_a_gap(
    rooms: Rooms, device: MakeDevice, missing: tuple[EventId, ...]
) -> None:
    room_id, _ = await room_with_carol(rooms)
    alice = device(ALICE)
    await alice.next()
    await rooms.send(room_id, ALICE)
    fork = await fork_of(rooms, room_id)
    event = (await fork_of(rooms, room_id)).make("m.room.message", {"body": "behind"})
    await receive_behind_hole(rooms, room_id, event)
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    fetched = await fill(rooms, fork, await hole_of(rooms, head.nid), missing)
    told: dict[str, Any] = await alice.joined(room_id)
    assert (ids(told), told["timeline"]["limited"]) == ([event.event_id], True)
    assert fetched not in ids(told)
