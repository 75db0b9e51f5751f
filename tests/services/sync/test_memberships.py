"""Rooms that come and go: joins, leaves, bans, invites."""

import asyncio

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids, keys
from tests.services.sync.steps import CAROL, room_of
from tim_server.storage.memberships import forget_room
from tim_server.storage.store import Store


async def test_a_room_that_was_joined_since_comes_whole(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, CAROL)
    before = await rooms.send(room_id, ALICE)
    bob = device(BOB, filter={"room": {"timeline": {"limit": 2}}})
    await bob.next()
    joined = await rooms.member(room_id, BOB, "join")
    told = await bob.joined(room_id)
    assert ids(told) == [before, joined]
    assert told["timeline"]["limited"] is True
    assert {("m.room.create", ""), ("m.room.member", CAROL), ("m.room.member", ALICE)} <= keys(told)
    assert told["summary"]["m.joined_member_count"] == 3


async def test_a_new_name_of_a_member_changes_no_summary(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB, CAROL)
    alice = device(ALICE, filter={"room": {"timeline": {"types": ["m.room.message"]}, "state": {"types": []}}})
    await alice.next()
    content = {"membership": "join", "displayname": "Bob"}
    await rooms.send(room_id, BOB, "m.room.member", state_key=str(BOB), content=content)
    assert "rooms" not in await alice.next()
    await rooms.member(room_id, CAROL, "leave")
    assert (await alice.joined(room_id))["summary"]["m.joined_member_count"] == 2


async def test_history_before_the_join_is_hidden_where_the_room_hides_it(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    visibility = {"history_visibility": "joined"}
    await rooms.send(room_id, ALICE, "m.room.history_visibility", state_key="", content=visibility)
    await rooms.send(room_id, ALICE)
    bob = device(BOB)
    await bob.next()
    joined = await rooms.member(room_id, BOB, "join")
    told = await bob.joined(room_id)
    assert ids(told)[-1] == joined
    assert "m.room.message" not in {event["type"] for event in told["timeline"]["events"]}


async def test_a_leave_is_told_with_what_came_before_it_and_nothing_after(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB)
    await bob.next()
    seen = await rooms.send(room_id, ALICE)
    left = await rooms.member(room_id, BOB, "leave")
    await rooms.send(room_id, ALICE)
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "secret"})
    answer = await bob.next()
    told = answer["rooms"]["leave"][room_id]
    assert ids(told) == [seen, left]
    assert told["state"] == {"events": []}
    await rooms.send(room_id, ALICE)
    assert "rooms" not in await bob.next()


async def test_a_ban_is_told_as_a_leave(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB)
    await bob.next()
    banned = await rooms.member(room_id, ALICE, "ban", BOB)
    told = (await bob.next())["rooms"]["leave"][room_id]
    assert ids(told) == [banned]


async def test_what_was_missed_between_leaving_and_coming_back_is_told(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB, filter={"room": {"timeline": {"limit": 1}}})
    await bob.next()
    await rooms.member(room_id, BOB, "leave")
    away = await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    joined = await rooms.member(room_id, BOB, "join")
    told = await bob.joined(room_id)
    assert ids(told) == [joined]
    assert away in ids(told, "state")


async def test_who_comes_back_later_gets_the_whole_room_after_a_gap(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB)
    await bob.next()
    await rooms.member(room_id, BOB, "leave")
    await bob.next()
    await rooms.send(room_id, ALICE)
    await rooms.member(room_id, BOB, "join")
    bob.filter = {"room": {"timeline": {"limit": 1}}}
    told = await bob.joined(room_id)
    assert told["timeline"]["limited"] is True
    assert ("m.room.create", "") in keys(told)


async def test_a_forgotten_room_is_told_only_to_devices_that_had_it(
    rooms: Rooms, device: MakeDevice, store: Store
) -> None:
    room_id = await room_of(rooms, BOB)
    bob = device(BOB, filter={"room": {"include_leave": True}})
    await bob.next()
    await rooms.member(room_id, BOB, "leave")
    async with store.database.transaction() as tx:
        await forget_room(tx, BOB, room_id, 1)
    new = await device(BOB, filter={"room": {"include_leave": True}}).next()
    assert room_id not in new.get("rooms", {}).get("leave", {})
    assert room_id in (await bob.next())["rooms"]["leave"]
    assert "rooms" not in await bob.next()


async def test_a_knock_comes_with_stripped_state(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await rooms.create(join_rule="knock")
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "Ward"})
    bob = device(BOB)
    await bob.next()
    await rooms.member(room_id, BOB, "knock")
    told = (await bob.next())["rooms"]["knock"][room_id]["knock_state"]["events"]
    assert {(event["type"], event["state_key"]) for event in told} == {
        ("m.room.create", ""),
        ("m.room.join_rules", ""),
        ("m.room.topic", ""),
        ("m.room.member", BOB),
    }
    await rooms.member(room_id, ALICE, "leave", BOB)
    assert room_id in (await bob.next())["rooms"]["leave"]


async def test_an_invite_does_not_tell_what_came_after_it(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    await rooms.member(room_id, ALICE, "invite", BOB)
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "later"})
    told = (await device(BOB).next())["rooms"]["invite"][room_id]["invite_state"]["events"]
    assert "m.room.name" not in {event["type"] for event in told}


async def test_an_invite_comes_with_stripped_state(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms, CAROL)
    await rooms.send(room_id, ALICE, "m.room.name", state_key="", content={"name": "Ward"})
    bob = device(BOB)
    await bob.next()
    waiting = asyncio.create_task(bob.next(timeout_ms=10_000))
    await asyncio.sleep(0.05)
    await rooms.member(room_id, ALICE, "invite", BOB)
    told = (await asyncio.wait_for(waiting, 5))["rooms"]["invite"][room_id]["invite_state"]["events"]
    found = {(event["type"], event["state_key"]) for event in told}
    assert found == {
        ("m.room.create", ""),
        ("m.room.name", ""),
        ("m.room.join_rules", ""),
        ("m.room.member", ALICE),
        ("m.room.member", BOB),
    }
    assert all(set(event) == {"type", "state_key", "sender", "content"} for event in told)
    assert told[-1]["content"]["membership"] == "invite"


async def test_an_invite_that_is_declined_is_told_as_a_leave(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    await rooms.member(room_id, ALICE, "invite", BOB)
    bob = device(BOB)
    await bob.next()
    declined = await rooms.member(room_id, BOB, "leave")
    told = (await bob.next())["rooms"]["leave"][room_id]
    assert ids(told) == [declined]
    assert told["state"] == {"events": []}
