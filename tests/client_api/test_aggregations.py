"""Bundled aggregations: `unsigned.m.relations` of events, wherever clients are told of them."""

import asyncio
import json
from typing import Any

import pytest

from tests.people import Hospital, Person
from tests.relating import aggregated, edit, ignore, react, relates, reply

NO_EDIT: list[dict[str, Any]] = [
    {"type": "org.example.other"},
    {"content": {"m.new_content": "a string"}},
    {"content": {"m.new_content": None}},
]


async def room_of_two(hospital: Hospital, **options: Any) -> tuple[Person, Person, str]:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(**options)
    await bob.join(room_id)
    return alice, bob, room_id


async def test_the_newest_edit_is_told_and_the_content_left_intact(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    original = await alice.say(room_id, "Beds: 3")
    await edit(alice, room_id, original, "Beds: 4")
    newest = await edit(alice, room_id, original, "Beds: 5")
    event = await bob.event(room_id, original)
    assert event["content"]["body"] == "Beds: 3"
    replacement = event["unsigned"]["m.relations"]["m.replace"]
    assert replacement["event_id"] == newest
    assert replacement["content"]["m.new_content"]["body"] == "Beds: 5"
    assert replacement["sender"] == alice.user_id and replacement["type"] == "m.room.message"
    assert replacement["room_id"] == room_id
    assert "age" in replacement["unsigned"]


async def test_a_redacted_edit_gives_way_to_the_one_before(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    original = await alice.say(room_id, "one")
    first, second = [await edit(alice, room_id, original, text) for text in ("two", "three")]
    await alice.put(f"rooms/{room_id}/redact/{second}/1", {})
    assert (await aggregated(alice, room_id, original))["m.replace"]["event_id"] == first
    await alice.put(f"rooms/{room_id}/redact/{first}/1", {})
    assert await aggregated(alice, room_id, original) == {}


async def test_a_redacted_event_has_no_edit_but_still_a_thread(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    original = await alice.say(room_id, "one")
    await edit(alice, room_id, original, "two")
    threaded = await reply(alice, room_id, original)
    await alice.put(f"rooms/{room_id}/redact/{original}/1", {})
    relations = await aggregated(alice, room_id, original)
    assert relations.keys() == {"m.thread"}
    assert relations["m.thread"]["latest_event"]["event_id"] == threaded


async def test_edits_of_others_count_for_nothing(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    original = await alice.say(room_id, "one")
    await edit(bob, room_id, original, "two")
    assert await aggregated(alice, room_id, original) == {}


@pytest.mark.parametrize("fields", NO_EDIT)
async def test_edits_that_are_none(hospital: Hospital, fields: dict[str, Any]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    original = await alice.say(room_id, "one")
    content = {**relates("m.replace", original), "m.new_content": {"msgtype": "m.text", "body": "x"}}
    await alice.send(room_id, content | fields.get("content", {}), type=fields.get("type", "m.room.message"))
    assert await aggregated(alice, room_id, original) == {}


async def test_an_edit_is_not_edited(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    original = await alice.say(room_id, "one")
    first = await edit(alice, room_id, original, "two")
    await edit(alice, room_id, first, "three")
    assert await aggregated(alice, room_id, first) == {}
    assert (await aggregated(alice, room_id, original))["m.replace"]["event_id"] == first


async def test_state_is_not_edited_and_has_no_aggregations(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    topic = await alice.set_state(room_id, "m.room.topic", {"topic": "one"})
    content = {"m.new_content": {"topic": "two"}, "m.relates_to": {"rel_type": "m.replace", "event_id": topic}}
    await alice.send(room_id, content, type="m.room.topic")
    await reply(alice, room_id, topic)
    assert await aggregated(alice, room_id, topic) == {}


async def test_an_encrypted_edit_hides_its_content(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    original = await alice.send(room_id, {"ciphertext": "one"}, type="m.room.encrypted")
    hidden = {"ciphertext": "two", "m.relates_to": {"rel_type": "m.replace", "event_id": original}}
    replacement = await alice.send(room_id, hidden, type="m.room.encrypted")
    assert (await aggregated(alice, room_id, original))["m.replace"]["event_id"] == replacement


async def test_a_thread_is_summarised(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    carol = await hospital.person()
    await carol.join(room_id)
    root = await alice.say(room_id, "Root")
    await reply(bob, room_id, root)
    latest = await reply(bob, room_id, root, "latest")
    for person, participated in ((alice, True), (bob, True), (carol, False)):
        thread = (await aggregated(person, room_id, root))["m.thread"]
        assert thread["count"] == 2
        assert thread["current_user_participated"] is participated
        assert thread["latest_event"]["event_id"] == latest
        assert thread["latest_event"]["content"]["body"] == "latest"


async def test_the_latest_event_of_a_thread_has_its_own_aggregations(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    latest = await reply(alice, room_id, root, "wrong")
    replacement = await edit(alice, room_id, latest, "right")
    told = (await aggregated(alice, room_id, root))["m.thread"]["latest_event"]
    assert told["unsigned"]["m.relations"]["m.replace"]["event_id"] == replacement


async def test_redacted_events_leave_the_thread(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    first, second = await reply(alice, room_id, root), await reply(alice, room_id, root)
    await alice.put(f"rooms/{room_id}/redact/{second}/1", {})
    thread = (await aggregated(alice, room_id, root))["m.thread"]
    assert (thread["count"], thread["latest_event"]["event_id"]) == (1, first)
    await alice.put(f"rooms/{room_id}/redact/{first}/1", {})
    assert await aggregated(alice, room_id, root) == {}


async def test_references_are_listed(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    parent = await alice.say(room_id, "Parent")
    referring = [await bob.send(room_id, relates("m.reference", parent)) for _ in range(2)]
    relations = await aggregated(alice, room_id, parent)
    assert relations == {"m.reference": {"chunk": [{"event_id": event_id} for event_id in referring]}}


async def test_annotations_and_other_relations_are_not_aggregated(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    await react(alice, room_id, parent, "👍")
    await alice.send(room_id, relates("org.example.note", parent))
    assert await aggregated(alice, room_id, parent) == {}


async def test_ignored_users_do_not_appear(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    root = await alice.say(room_id, "Root")
    first = await reply(alice, room_id, root)
    await reply(bob, room_id, root)
    await bob.send(room_id, relates("m.reference", root))
    await ignore(alice, bob)
    relations = await aggregated(alice, room_id, root)
    assert relations.keys() == {"m.thread"}
    assert (relations["m.thread"]["count"], relations["m.thread"]["latest_event"]["event_id"]) == (1, first)


async def test_what_the_user_may_not_see_is_not_told(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    root = await alice.say(room_id, "Root")
    first = await reply(alice, room_id, root, "seen")
    referring = await alice.send(room_id, relates("m.reference", root))
    await bob.leave(room_id)
    await edit(alice, room_id, root, "secret")
    await reply(alice, room_id, root, "secret")
    await alice.send(room_id, relates("m.reference", root) | {"body": "secret"})
    relations = await aggregated(bob, room_id, root)
    assert "secret" not in json.dumps(relations)
    assert relations["m.thread"]["count"] == 1
    assert relations["m.thread"]["latest_event"]["event_id"] == first
    assert relations["m.reference"]["chunk"] == [{"event_id": referring}]
    await bob.join(room_id)
    relations = await aggregated(bob, room_id, root)
    assert "secret" not in json.dumps(relations)
    assert relations["m.thread"]["latest_event"]["event_id"] == first


async def test_who_has_left_learns_nothing_by_knocking_or_being_banned(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    root = await alice.say(room_id, "Root")
    await reply(alice, room_id, root)
    await bob.leave(room_id)
    await alice.set_state(room_id, "m.room.join_rules", {"join_rule": "knock"})
    await reply(alice, room_id, root, "secret")
    await bob.post(f"knock/{room_id}")
    assert (await aggregated(bob, room_id, root))["m.thread"]["count"] == 1
    await alice.post(f"rooms/{room_id}/ban", {"user_id": bob.user_id})
    assert (await aggregated(bob, room_id, root))["m.thread"]["count"] == 1


async def test_every_way_to_read_events_tells_them(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    threaded = await reply(alice, room_id, root)
    v1 = f"/_matrix/client/v1/rooms/{room_id}"
    context = await alice.get(f"rooms/{room_id}/context/{threaded}")
    answers = [
        [await alice.event(room_id, root)],
        (await alice.history(room_id))["chunk"],
        [(await alice.get(f"rooms/{room_id}/context/{root}"))["event"]],
        context["events_before"],
        (await alice.get(f"{v1}/threads"))["chunk"],
    ]
    for events in answers:
        (event,) = [event for event in events if event["event_id"] == root]
        assert event["unsigned"]["m.relations"]["m.thread"]["latest_event"]["event_id"] == threaded


async def test_sync_tells_them_where_the_timeline_is_limited(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    since = (await bob.get("sync"))["next_batch"]
    for number in range(9):
        await alice.say(room_id, f"message {number}")
    root = await alice.say(room_id, "Root")
    replacement = await edit(alice, room_id, root, "edited")
    for start in (since, None):
        timeline = (await bob.get("sync", since=start))["rooms"]["join"][room_id]["timeline"]
        assert timeline["limited"]
        (event,) = [event for event in timeline["events"] if event["event_id"] == root]
        told = event["unsigned"]["m.relations"]["m.replace"]
        assert told["event_id"] == replacement
        assert "room_id" not in told


async def test_an_edit_reaches_a_waiting_sync_as_an_event(hospital: Hospital) -> None:
    alice, bob, room_id = await room_of_two(hospital)
    root = await alice.say(room_id, "Root")
    since = (await bob.get("sync"))["next_batch"]
    waiting = asyncio.create_task(bob.get("sync", since=since, timeout=10_000))
    await asyncio.sleep(0.05)
    replacement = await edit(alice, room_id, root, "edited")
    (event,) = (await waiting)["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["event_id"] == replacement
    assert event["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": root}
