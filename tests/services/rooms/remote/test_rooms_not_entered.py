"""What is left of joins that were given up is removed, and nothing else."""

import pytest

from tests.peer import make_author
from tests.peer_room import PeerRoom
from tests.services.rooms.conftest import Rooms
from tests.storage.commits import Probe
from tim_server.services.rooms.remote.known_rooms import KnownRooms
from tim_server.services.rooms.remote.outliers import Outliers
from tim_server.storage import rooms_not_entered
from tim_server.storage.events import load_nodes_by_id
from tim_server.storage.rooms import load_room
from tim_server.storage.store import Store

FORGET_COMMITS = "DELETE FROM commits WHERE position < (SELECT max(position) FROM commits)"
PUT_OUTSIDE = """
INSERT INTO outside_memberships (room_nid, user_id, event_nid, position, membership, room_version, event_id, sender,
                                 origin_server_ts, body)
VALUES ($1, '@alice:hospital.example', $1, 1, 'invite', '11', '$invite', '@bob:peer.example', 1, '')
"""


async def abandoned_room(rooms: Rooms, *, members: int = 3) -> PeerRoom:
    """A room of which a join has stored events, and then no more."""
    room = PeerRoom.create(make_author("peer.example"))
    for number in range(members):
        room.join(f"@nurse{number}:peer.example")
    head = await KnownRooms(store=rooms.store, heads=rooms.queues.heads).know(room.room_id, room.version)
    outliers = Outliers(store=rooms.store, parsed=rooms.queues.parsed)
    await outliers.keep(head.nid, room.version, list(room.events.values()))
    return room


async def reap(store: Store) -> int:
    """How many times there was something to remove."""
    count = 0
    while True:
        async with store.database.transaction() as tx:
            if not await rooms_not_entered.reap_some(tx):
                return count
        count += 1


async def is_there(store: Store, room: PeerRoom) -> tuple[bool, int]:
    """Whether the room is known, and how many of its events are stored."""
    async with store.database.read() as tx:
        nodes = await load_nodes_by_id(tx, room.events)
        return await load_room(tx, room.room_id) is not None, len(nodes)


async def a_day_passes(store: Store) -> None:
    await store.writer.write(Probe())
    async with store.database.transaction() as tx:
        await tx.execute(FORGET_COMMITS)


async def test_an_abandoned_room_goes_in_small_steps(
    rooms: Rooms, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rooms_not_entered, "EVENTS_AT_ONCE", 4)
    room = await abandoned_room(rooms)
    assert await reap(store) == 0  # it may be on its way
    await a_day_passes(store)
    assert await reap(store) == len(room.events) // 4 + 1
    assert await is_there(store, room) == (False, 0)


async def test_a_room_that_is_thought_of_again_stays(rooms: Rooms, store: Store) -> None:
    room = await abandoned_room(rooms)
    await a_day_passes(store)
    await KnownRooms(store=store, heads=rooms.queues.heads).know(room.room_id, room.version)
    await reap(store)
    assert await is_there(store, room) == (True, len(room.events))


async def test_a_room_to_which_somebody_is_invited_stays(rooms: Rooms, store: Store) -> None:
    room = await abandoned_room(rooms)
    async with store.database.transaction() as tx:
        known = await load_room(tx, room.room_id)
        assert known is not None
        await tx.execute(PUT_OUTSIDE, known.nid)
    await a_day_passes(store)
    await reap(store)
    assert await is_there(store, room) == (True, len(room.events))


async def test_a_room_that_this_server_is_in_stays(rooms: Rooms, store: Store) -> None:
    room_id = await rooms.create()
    await a_day_passes(store)
    await reap(store)
    async with store.database.read() as tx:
        assert await load_room(tx, room_id) is not None
