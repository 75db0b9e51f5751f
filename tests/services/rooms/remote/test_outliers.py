"""Storing outliers: in any order, judged by what they cite, once."""

import asyncio
import itertools
import random

import pytest

from tests.peer import make_author
from tests.peer_room import PeerRoom
from tests.services.rooms.conftest import Rooms
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.remote import outliers as outliers_module
from tim_server.services.rooms.remote.known_rooms import KnownRooms
from tim_server.services.rooms.remote.outliers import KeptOutliers, Outliers
from tim_server.storage.events import EventRow, load_events_by_id

AUTHOR = make_author("peer.example")
_numbers = itertools.count()


def everything(room: PeerRoom) -> list[Event]:
    return list(room.events.values())


async def keep(rooms: Rooms, room: PeerRoom, events: list[Event]) -> KeptOutliers:
    head = await KnownRooms(store=rooms.store, heads=rooms.queues.heads).know(room.room_id, room.version)
    outliers = Outliers(store=rooms.store, parsed=rooms.queues.parsed)
    return await outliers.keep(head.nid, room.version, events)


async def stored(rooms: Rooms, events: list[Event]) -> dict[EventId, EventRow]:
    async with rooms.store.database.read() as tx:
        return await load_events_by_id(tx, rooms.store.codec, [event.event_id for event in events])


@pytest.mark.parametrize("version", ["1", "2", "3", "6", "10", "11", "12"])
async def test_events_are_stored_whatever_their_order(rooms: Rooms, version: str) -> None:
    room = PeerRoom.create(AUTHOR, version)
    room.join("@nurse:peer.example")
    events = everything(room)
    random.shuffle(events)
    kept = await keep(rooms, room, events)
    assert kept.nids.keys() == room.events.keys() and not kept.rejected and not kept.missing
    rows = await stored(rooms, events)
    assert all(row.position is None and row.snapshot is None and row.rejected is None for row in rows.values())
    for event in events:
        assert rows[event.event_id].auth_nids == [kept.nids[auth_id] for auth_id in event.auth_events]
        assert rooms.store.codec and rows[event.event_id].nid == kept.nids[event.event_id]


async def test_what_is_stored_already_is_left_and_its_nid_told(rooms: Rooms) -> None:
    room = PeerRoom.create(AUTHOR)
    first = await keep(rooms, room, everything(room))
    room.join("@nurse:peer.example")
    second = await keep(rooms, room, everything(room))
    assert {event_id: second.nids[event_id] for event_id in first.nids} == first.nids
    assert second.nids.keys() == room.events.keys()


async def test_an_event_that_its_auth_events_do_not_allow_is_stored_as_rejected(rooms: Rooms) -> None:
    room = PeerRoom.create(AUTHOR)
    room.join("@nurse:peer.example")
    topic = room.add("m.room.topic", {"topic": "mine"}, sender="@nurse:peer.example", state_key="")
    kept = await keep(rooms, room, everything(room))
    assert kept.rejected == {topic.event_id}
    assert (await stored(rooms, [topic]))[topic.event_id].rejected


async def test_what_cites_a_rejected_event_is_rejected(rooms: Rooms) -> None:
    room = PeerRoom.create(AUTHOR)
    power = room.add(
        "m.room.power_levels", {"users": {"@nurse:peer.example": 100}}, sender="@nurse:peer.example", state_key=""
    )
    name = room.add("m.room.name", {"name": "Ward"}, state_key="")
    first = await keep(rooms, room, [event for event in everything(room) if event is not name])
    assert first.rejected == {power.event_id}
    assert (await keep(rooms, room, [name])).rejected == {name.event_id}


@pytest.mark.parametrize("version", ["11", "12"])
async def test_what_rests_on_a_missing_event_is_not_stored(rooms: Rooms, version: str) -> None:
    room = PeerRoom.create(AUTHOR, version)
    create = room.state["m.room.create", ""]
    kept = await keep(rooms, room, [event for event in everything(room) if event is not create])
    assert not kept.nids and kept.missing == {create.event_id}
    assert not await stored(rooms, everything(room))


async def test_events_of_another_room_authorise_nothing(rooms: Rooms) -> None:
    """In v1 and v2 whoever sends an event chooses its id."""
    room, other = PeerRoom.create(AUTHOR, "2"), PeerRoom.create(AUTHOR, "2")
    await keep(rooms, room, everything(room))
    create = room.state["m.room.create", ""]
    name = other.make("m.room.name", {"name": "Ward"}, state_key="", auth_events=(create.event_id,))
    kept = await keep(rooms, other, [name])
    assert kept.rejected == {name.event_id} and not kept.missing


async def test_events_on_a_cycle_are_not_stored(rooms: Rooms) -> None:
    room = PeerRoom.create(AUTHOR, "1")
    ids = [EventId(f"$cycle{next(_numbers)}:peer.example") for _ in range(2)]
    events = [
        room.make("m.room.name", {"name": "x"}, state_key="", event_id=mine, auth_events=(other,))
        for mine, other in (ids, reversed(ids))
    ]
    kept = await keep(rooms, room, [*everything(room), *events])
    assert kept.nids.keys() == room.events.keys()


async def test_many_events_are_stored_in_several_commits(rooms: Rooms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outliers_module, "EVENTS_PER_WRITE", 3)
    room = PeerRoom.create(AUTHOR)
    for number in range(10):
        room.join(f"@nurse{number}:peer.example")
    position = rooms.store.commit_log.position
    kept = await keep(rooms, room, everything(room))
    assert kept.nids.keys() == room.events.keys()
    assert rooms.store.commit_log.position >= position + len(room.events) // 3


async def test_two_that_store_the_same_both_end_with_it(rooms: Rooms) -> None:
    room = PeerRoom.create(AUTHOR)
    one, other = await asyncio.gather(*(keep(rooms, room, everything(room)) for _ in range(2)))
    assert one.nids == other.nids and one.nids.keys() == room.events.keys()


async def test_a_room_without_state_takes_the_version_that_is_said_last(rooms: Rooms) -> None:
    known = KnownRooms(store=rooms.store, heads=rooms.queues.heads)
    room_id = RoomId(f"!known{next(_numbers)}:peer.example")
    first = await known.know(room_id, room_version("10"))
    second = await known.know(room_id, room_version("11"))
    rooms.queues.heads.forget(room_id)
    loaded = await rooms.queues.heads.get(room_id)
    assert loaded is not None and loaded.nid == first.nid == second.nid
    assert loaded.version is room_version("11") and loaded.head_version == second.head_version
