"""Unread counts and mentions, as matrix-nio and matrix-js-sdk show them."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.clients.mixed_room import MixedRoom

pytestmark = pytest.mark.external


def counts(notifications: int, highlights: int = 0) -> dict[str, int]:
    """Unread counts as the devices of `js_devices.mjs` show them."""
    return {"notifications": notifications, "highlights": highlights}


async def test_messages_are_counted_until_they_are_read(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    for body in ("one", "two", "three"):
        last_of_alice = await alice.say(room_id, body)
    await bob.shows("unread", room_id, expecting=counts(3))
    await bob.ask("read", room_id, last_of_alice, "m.read")
    await bob.shows("unread", room_id, expecting=counts(0))
    for body in ("four", "five"):
        last_of_bob = await bob.say(room_id, body)
    await alice.until(lambda: alice.room(room_id).unread_notifications == 2)
    await alice.call("update_receipt_marker", room_id, last_of_bob)
    await alice.until(lambda: alice.room(room_id).unread_notifications == 0)
    assert alice.room(room_id).unread_highlights == 0


async def test_reading_on_one_device_reads_on_the_others(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    async with mixed_room.new_device_of_bob() as phone:
        await alice.until(lambda: alice.knows_device(phone.user_id, phone.device_id))
        event_id = await alice.say(room_id, "Read this")
        for device in (bob, phone):
            await device.shows("unread", room_id, expecting=counts(1))
        await phone.ask("read", room_id, event_id, "m.read.private")
        for device in (bob, phone):
            await device.shows("unread", room_id, expecting=counts(0))


async def test_a_mention_is_highlighted(mixed_room: "MixedRoom") -> None:
    """In an encrypted room by the client, which reads it; in a plain room by the server."""
    alice, bob = mixed_room.alice, mixed_room.bob
    plain = await mixed_room.plain_room()
    for room_id in (mixed_room.room_id, plain):
        await alice.say(room_id, "Good morning")
        await alice.mention(room_id, "Bob?", [bob.user_id])
        await bob.shows("unread", room_id, expecting=counts(2, highlights=1))
    await bob.ask("mention", plain, "Alice!", [alice.user_id])
    await alice.until(lambda: alice.room(plain).unread_highlights == 1)
    assert alice.room(plain).unread_notifications == 1


async def test_a_muted_room_counts_only_mentions(mixed_room: "MixedRoom") -> None:
    from nio.api import PushRuleKind

    alice, bob = mixed_room.alice, mixed_room.bob
    room_id = await mixed_room.plain_room()
    await alice.call("set_pushrule", "global", PushRuleKind.room, room_id, actions=[])
    await bob.say(room_id, "chatter")
    await bob.ask("mention", room_id, "Alice!", [alice.user_id])
    await alice.until(lambda: alice.room(room_id).unread_highlights == 1)
    assert alice.room(room_id).unread_notifications == 1


async def test_a_thread_is_counted_for_itself(mixed_room: "MixedRoom") -> None:
    alice, bob = mixed_room.alice, mixed_room.bob
    room_id = await mixed_room.plain_room()
    root = await alice.say(room_id, "Bed 4")
    await bob.hears(room_id, ["Bed 4"])
    await bob.ask("read", room_id, root, "m.read")
    await bob.shows("unread", room_id, expecting=counts(0))
    await alice.say_in_thread(room_id, root, "is free")
    last = await alice.say_in_thread(room_id, root, "and clean")
    await bob.shows("unread", room_id, root, expecting=counts(2))
    await bob.shows("unread", room_id, expecting=counts(0))
    await bob.ask("read", room_id, last, "m.read")
    await bob.shows("unread", room_id, root, expecting=counts(0))
