"""Receipts, typing and presence, as matrix-nio and matrix-js-sdk show them to each other."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.clients.mixed_room import MixedRoom

pytestmark = pytest.mark.external

READ, READ_PRIVATE = "m.read", "m.read.private"


async def test_each_sees_how_far_the_other_has_read(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    of_alice = await alice.say(room_id, "Read this")
    await bob.hears(room_id, ["Read this"])
    await bob.ask("read", room_id, of_alice, READ)
    await alice.until(lambda: alice.has_seen_receipt(room_id, bob.user_id, of_alice))
    of_bob = await bob.say(room_id, "I did")
    await alice.hears(room_id, ["Read this", "I did"])
    await bob.shows("readers", room_id, of_bob, expecting=[])
    await alice.call("update_receipt_marker", room_id, of_bob)
    await bob.shows("readers", room_id, of_bob, expecting=[alice.user_id])


async def test_a_private_receipt_is_seen_on_the_own_devices_only(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    first, second = await alice.say(room_id, "one"), await alice.say(room_id, "two")
    await bob.hears(room_id, ["one", "two"])
    await bob.ask("read", room_id, first, READ)
    await alice.until(lambda: alice.has_seen_receipt(room_id, bob.user_id, first))
    async with mixed_room.new_device_of_bob() as phone:
        await phone.shows("readUpTo", room_id, bob.user_id, expecting=first)
        await bob.ask("read", room_id, second, READ_PRIVATE)
        await phone.shows("readUpTo", room_id, bob.user_id, expecting=second)
    await bob.say(room_id, "three")
    await alice.hears(room_id, ["one", "two", "three"])
    assert alice.has_seen_receipt(room_id, bob.user_id, first)


async def test_the_fully_read_marker_moves_on_every_device(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    event_id = await alice.say(room_id, "Read this")
    await bob.hears(room_id, ["Read this"])
    async with mixed_room.new_device_of_bob() as phone:
        await bob.call("setRoomReadMarkers", room_id, event_id)
        await phone.shows("roomAccountData", room_id, "m.fully_read", expecting={"event_id": event_id})
    await alice.call("room_read_markers", room_id, event_id)
    await alice.until(lambda: alice.room(room_id).fully_read_marker == event_id)


async def test_each_sees_the_other_typing(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    await alice.call("room_typing", room_id, True)
    await bob.shows("typing", room_id, expecting=[alice.user_id])
    await alice.call("room_typing", room_id, False)
    await bob.shows("typing", room_id, expecting=[])
    await bob.call("sendTyping", room_id, True, 30_000)
    await alice.until(lambda: alice.room(room_id).typing_users == [bob.user_id])
    await bob.call("sendTyping", room_id, False, 0)
    await alice.until(lambda: alice.room(room_id).typing_users == [])


async def test_typing_ends_by_itself(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    await alice.call("room_typing", room_id, True, timeout=1_000)
    await bob.shows("typing", room_id, expecting=[alice.user_id])
    await bob.shows("typing", room_id, expecting=[])


async def test_each_sees_whether_the_other_is_there(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    await bob.shows("presence", alice.user_id, expecting={"presence": "online", "status": None})
    await alice.until(lambda: alice.room(room_id).users[bob.user_id].presence == "online")
    await alice.call("set_presence", "unavailable", "on the ward")
    await bob.shows("presence", alice.user_id, expecting={"presence": "unavailable", "status": "on the ward"})
    await bob.call("setPresence", {"presence": "online", "status_msg": "at my desk"})
    await alice.until(lambda: alice.room(room_id).users[bob.user_id].status_msg == "at my desk")
    assert (await alice.call("get_presence", bob.user_id)).presence == "online"
