"""Edits, reactions and threads, as matrix-nio and matrix-js-sdk show them."""

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.clients.mixed_room import MixedRoom

pytestmark = pytest.mark.external


async def test_an_edited_message_says_what_it_says_now(mixed_room: "MixedRoom") -> None:
    from nio.api import RelationshipType

    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    of_alice = await alice.say(room_id, "Bed 4")
    await bob.hears(room_id, ["Bed 4"])
    await alice.edit(room_id, of_alice, "Bed 5")
    await bob.shows("message", room_id, of_alice, expecting={"body": "Bed 5", "edited": True})
    of_bob = await bob.say(room_id, "Thanks")
    await bob.ask("edit", room_id, of_bob, "Thank you")
    await alice.until(lambda: alice.heard(room_id)[-1:] == ["* Thank you"])
    edits = await alice.related(room_id, of_bob, RelationshipType.replacement)
    assert [edit.source["content"]["m.new_content"]["body"] for edit in edits] == ["Thank you"]


async def test_a_new_device_is_given_the_last_edit(mixed_room: "MixedRoom") -> None:
    alice = mixed_room.alice
    room_id = await mixed_room.plain_room()
    event_id = await alice.say(room_id, "Bed 4")
    for body in ("Bed 5", "Bed 6"):
        await alice.edit(room_id, event_id, body)
    async with mixed_room.new_device_of_bob() as phone:
        await phone.shows("message", room_id, event_id, expecting={"body": "Bed 6", "edited": True})
        assert await phone.ask("history", room_id) == ["Bed 6"]


async def test_reactions_are_counted(mixed_room: "MixedRoom") -> None:
    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    event_id = await alice.say(room_id, "Coffee?")
    await bob.hears(room_id, ["Coffee?"])
    of_alice = await alice.react(room_id, event_id, "👍")
    await bob.ask("react", room_id, event_id, "👍")
    await bob.ask("react", room_id, event_id, "☕")
    await bob.shows("reactions", room_id, event_id, expecting={"👍": 2, "☕": 1})
    await alice.until(lambda: alice.reactions(room_id, event_id) == ["👍", "👍", "☕"])
    again = {"m.relates_to": {"rel_type": "m.annotation", "event_id": event_id, "key": "👍"}}
    assert await alice.refusal("room_send", room_id, "m.reaction", again) == "M_DUPLICATE_ANNOTATION"
    await alice.call("room_redact", room_id, of_alice)
    await bob.shows("reactions", room_id, event_id, expecting={"👍": 1, "☕": 1})


async def test_a_thread_is_shown_apart_with_its_count_and_latest_reply(mixed_room: "MixedRoom") -> None:
    from nio.api import RelationshipType

    alice, bob, room_id = mixed_room.alice, mixed_room.bob, mixed_room.room_id
    root = await alice.say(room_id, "Bed 4")
    await bob.hears(room_id, ["Bed 4"])
    replies = ["is free", "and clean"]
    for count in (1, 2):
        await alice.say_in_thread(room_id, root, replies[count - 1])
        shown = {"length": count, "latest": replies[count - 1], "heard": replies[:count]}
        await bob.shows("thread", room_id, root, expecting=shown)
        await bob.ask("settle")
    await bob.ask("sayInThread", room_id, root, "since today")
    await alice.hears(room_id, ["Bed 4", *replies, "since today"])
    related = await alice.related(room_id, root, RelationshipType.thread)
    assert [reply.body for reply in related] == ["since today", "and clean", "is free"]
    assert [thread.event_id for thread in await alice.threads(room_id)] == [root]
    await bob.ask("settle")
    assert await bob.ask("threads", room_id) == [["Bed 4", 3]]
    assert (await bob.ask("thread", room_id, root))["heard"] == [*replies, "since today"]
    await bob.hears(room_id, ["Bed 4"])


async def test_a_new_device_is_given_the_threads(mixed_room: "MixedRoom") -> None:
    alice = mixed_room.alice
    room_id = await mixed_room.plain_room()
    roots = [await alice.say(room_id, body) for body in ("Bed 4", "Bed 5", "Bed 6")]
    for root in (roots[1], roots[0]):
        for body in ("is free", "and clean"):
            await alice.say_in_thread(room_id, root, body)
    async with mixed_room.new_device_of_bob() as phone:
        assert await phone.ask("threads", room_id) == [["Bed 5", 2], ["Bed 4", 2]]
        shown = {"length": 2, "latest": "and clean", "heard": ["is free", "and clean"]}
        await phone.shows("thread", room_id, roots[1], expecting=shown)
        assert await phone.ask("history", room_id) == ["Bed 4", "Bed 5", "Bed 6"]
