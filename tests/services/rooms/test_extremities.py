"""Forward extremities: what an event names of them, and what remains."""

from tests.services.rooms.conftest import ALICE, Rooms
from tests.services.rooms.forks import room_with_carol
from tim_server.matrix.canonical_json import decode
from tim_server.matrix.events.read import PREV_EVENTS_MAX, read_pdu
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.events import EventRow, load_events_by_id


async def row_of(rooms: Rooms, event_id: EventId) -> EventRow:
    async with rooms.store.database.read() as tx:
        return (await load_events_by_id(tx, rooms.store.codec, [event_id]))[event_id]


async def test_an_event_names_no_more_prev_events_than_servers_take_and_the_rest_remain(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    prev, depth, branches = fork.prev, fork.depth, []
    for number in range(PREV_EVENTS_MAX + 5):
        fork.prev, fork.depth = prev, depth
        branches.append(fork.make("m.room.message", {"body": f"branch {number}"}))
    await rooms.queues.submit(room_id, Incoming(events=tuple(branches)))
    head = await rooms.queues.heads.get(room_id)
    assert head is not None and len(head.extremities) == PREV_EVENTS_MAX + 5

    first = await rooms.send(room_id, ALICE)
    pdu = decode((await row_of(rooms, first)).body)
    assert read_pdu(pdu, head.version).prev_events == tuple(branch.event_id for branch in branches[5:])
    for event_ids in (await extremities(rooms, room_id), await extremities(rooms, room_id, reload=True)):
        assert event_ids == [*(branch.event_id for branch in branches[:5]), first]

    second = await rooms.send(room_id, ALICE)
    assert len((await row_of(rooms, second)).prev_nids) == 6
    assert await extremities(rooms, room_id, reload=True) == [second]


async def extremities(rooms: Rooms, room_id: RoomId, *, reload: bool = False) -> list[EventId]:
    if reload:
        rooms.queues.heads.clear()
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    return [event_id for _, event_id in head.extremities]
