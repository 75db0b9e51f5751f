"""An encrypted conversation between matrix-nio and matrix-js-sdk, whose encryption is in Rust: what is said is read by
those in the room, on each of their devices, and by nobody else."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.clients.mixed_room import MixedRoom

pytestmark = pytest.mark.external


async def test_ten_messages_each_way_are_encrypted_and_read(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    said = await mixed_room.talk()
    assert len(said) == 20
    assert alice.heard(room_id) == said
    await bob.hears(room_id, said)
    messages = [event for event in alice.timelines[room_id] if event.source["type"] == "m.room.message"]
    assert all(event.decrypted for event in messages)
    assert all([await bob.ask("wasEncrypted", room_id, event.event_id) for event in messages])
    as_the_server_has_it = await bob.call("fetchRoomEvent", room_id, messages[0].event_id)
    assert as_the_server_has_it["type"] == "m.room.encrypted"
    assert "body" not in as_the_server_has_it["content"]


async def test_a_new_device_takes_part_from_now_on_and_not_after_it_has_gone(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    await alice.say(room_id, "before the phone")
    await bob.hears(room_id, ["before the phone"])
    async with mixed_room.new_device_of_bob() as phone:
        await alice.until(lambda: alice.knows_device(phone.user_id, phone.device_id))
        event_id = await alice.say(room_id, "to the phone")
        await phone.shows("message", room_id, event_id, expecting={"body": "to the phone", "edited": False})
        await phone.say(room_id, "from the phone")
        await alice.hears(room_id, ["before the phone", "to the phone", "from the phone"])
        await bob.hears(room_id, ["before the phone", "to the phone", "from the phone"])
    await alice.until(lambda: not alice.knows_device(phone.user_id, phone.device_id))


async def test_what_was_said_while_a_client_was_off_is_read_afterwards(mixed_room: "MixedRoom") -> None:
    from tests.clients.nio_person import logged_in

    room_id, bob = mixed_room.room_id, mixed_room.bob
    async with logged_in(mixed_room.base_url, mixed_room.alice.user_id, encryption=True) as phone:
        async with phone.syncing():
            await phone.until(lambda: room_id in phone.client.rooms)
        for body in ("one", "two", "three"):
            await bob.say(room_id, body)
        async with phone.syncing():
            await phone.hears(room_id, ["one", "two", "three"])


async def test_two_people_verify_each_other(mixed_room: "MixedRoom") -> None:
    from tests.clients.nio_verification import Verification

    alice, bob = mixed_room.alice, mixed_room.bob
    await alice.say(mixed_room.room_id, "Shall we?")
    await bob.hears(mixed_room.room_id, ["Shall we?"])
    verification = Verification(person=alice)
    await bob.ask("requestDeviceVerification", alice.user_id, alice.device_id)
    await verification.accept()
    await bob.shows("verification", expecting="Ready")
    await bob.ask("startComparing")
    await verification.agree_to_compare()
    assert await bob.ask("numbers") == await verification.numbers()
    await bob.ask("confirmNumbers")
    await verification.confirm_numbers()
    await bob.shows("verification", expecting="Done")
    assert alice.client.device_store[bob.user_id][bob.device_id].verified
    await bob.shows("trust", alice.user_id, alice.device_id, expecting={"compared": True, "signed": False})
