"""Lazy loading of members: those whom the timeline needs, and those only once."""

from typing import Any

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids
from tests.services.sync.steps import CAROL, DAVE, room_of
from tim_server.matrix.identifiers import RoomId, UserId

LAZY: dict[str, Any] = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 1}}}


def members(told: dict[str, Any], part: str = "state") -> set[str]:
    """Users of the member events of a part of a room's section."""
    return {event["state_key"] for event in told[part]["events"] if event["type"] == "m.room.member"}


async def named_room(rooms: Rooms, *users: UserId) -> RoomId:
    """A room with a name, so that it needs no heroes."""
    room_id = await room_of(rooms, *users)
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    return room_id


async def test_a_first_sync_has_senders_and_the_user_themselves(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL, DAVE)
    await rooms.send(room_id, BOB)
    told = await device(CAROL, filter=LAZY).joined(room_id)
    assert members(told) == {BOB, CAROL}


async def test_heroes_come_with_their_member_events(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB, CAROL)
    await rooms.send(room_id, CAROL)
    told = await device(CAROL, filter=LAZY).joined(room_id)
    assert told["summary"]["m.heroes"] == [ALICE, BOB]
    assert members(told) == {ALICE, BOB, CAROL}


async def test_a_sender_comes_once(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL, DAVE)
    carol = device(CAROL, filter=LAZY)
    await carol.next()
    await rooms.send(room_id, DAVE)
    assert members(await carol.joined(room_id)) == {DAVE}
    await rooms.send(room_id, DAVE)
    assert members(await carol.joined(room_id)) == set()


async def test_an_answer_that_was_lost_is_repeated_with_its_members(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL, DAVE)
    carol = device(CAROL, filter=LAZY)
    await carol.next()
    await rooms.send(room_id, DAVE)
    lost = (await carol.ask())["rooms"]["join"][room_id]
    assert members(lost) == {DAVE}
    assert members(await carol.joined(room_id)) == {DAVE}


async def test_redundant_members_come_if_asked_for(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL)
    redundant = {"room": {"state": {"lazy_load_members": True, "include_redundant_members": True}}}
    carol = device(CAROL, filter=redundant)
    await carol.next()
    for _ in range(2):
        await rooms.send(room_id, BOB)
        assert members(await carol.joined(room_id)) == {BOB}


async def test_changes_in_a_gap_come_though_nobody_of_them_speaks(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL, DAVE)
    carol = device(CAROL, filter=LAZY)
    await carol.next()
    left = await rooms.member(room_id, DAVE, "leave")
    await rooms.send(room_id, BOB)
    await rooms.send(room_id, BOB)
    told = await carol.joined(room_id)
    assert told["timeline"]["limited"] is True
    assert left in ids(told, "state")
    assert members(told) == {BOB, DAVE}


async def test_state_after_has_the_members_that_the_timeline_changes(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL)
    carol = device(CAROL, filter=LAZY, state_after=True)
    await carol.next()
    await rooms.member(room_id, DAVE, "join")
    assert members(await carol.joined(room_id), "state_after") == {DAVE}


async def test_a_left_room_has_the_members_that_its_timeline_needs(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await named_room(rooms, BOB, CAROL, DAVE)
    await rooms.member(room_id, ALICE, "ban", CAROL)
    with_left = {"room": {**LAZY["room"], "include_leave": True}}
    told = (await device(CAROL, filter=with_left).next())["rooms"]["leave"][room_id]
    assert members(told) == {ALICE, CAROL}
    assert members(told, "timeline") == {CAROL}
