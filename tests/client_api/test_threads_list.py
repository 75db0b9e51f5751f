"""`threads_list.yaml`: the threads of a room."""

from typing import Any

import pytest

from tests.people import Hospital, Person
from tests.relating import edit, ignore, reply

V1 = "/_matrix/client/v1/rooms"


async def threads(person: Person, room_id: str, **query: Any) -> list[str]:
    """The ids of the roots on a page."""
    return [event["event_id"] for event in (await person.get(f"{V1}/{room_id}/threads", **query))["chunk"]]


async def test_threads_with_the_newest_events_come_first(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    first, second, _ = [await alice.say(room_id, text) for text in ("one", "two", "no thread")]
    assert await threads(alice, room_id) == []
    await reply(alice, room_id, first)
    await reply(alice, room_id, second)
    assert await threads(alice, room_id) == [second, first]
    latest = await reply(alice, room_id, first)
    assert await threads(alice, room_id) == [first, second]
    await alice.put(f"rooms/{room_id}/redact/{latest}/1", {})
    assert await threads(alice, room_id) == [second, first]


async def test_roots_are_whole_events_with_aggregations(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    latest = await reply(alice, room_id, root)
    replacement = await edit(alice, room_id, root, "edited")
    (event,) = (await alice.get(f"{V1}/{room_id}/threads"))["chunk"]
    assert (event["event_id"], event["room_id"], event["content"]["body"]) == (root, room_id, "Root")
    relations = event["unsigned"]["m.relations"]
    assert relations["m.thread"]["latest_event"]["event_id"] == latest
    assert relations["m.thread"]["latest_event"]["room_id"] == room_id
    assert relations["m.replace"]["event_id"] == replacement


async def test_paging(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    roots = [await alice.say(room_id, "Root") for _ in range(5)]
    for root in roots:
        await reply(alice, room_id, root)
    found: list[str] = []
    start = None
    for size in (2, 2, 1):
        page = await alice.get(f"{V1}/{room_id}/threads", limit=2, from_=start)
        assert len(page["chunk"]) == size
        found += [event["event_id"] for event in page["chunk"]]
        start = page.get("next_batch")
    assert start is None
    assert found == roots[::-1]


async def test_threads_that_the_user_participated_in(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    started, joined, others = [await who.say(room_id, "Root") for who in (bob, alice, alice)]
    for root in (started, joined, others):
        await reply(alice, room_id, root)
    own = await reply(bob, room_id, joined)
    assert await threads(bob, room_id, include="participated") == [joined, started]
    assert await threads(bob, room_id, include="all") == [joined, others, started]
    await bob.put(f"rooms/{room_id}/redact/{own}/1", {})
    assert await threads(bob, room_id, include="participated") == [started]


async def test_a_root_of_an_ignored_user_is_redacted(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    of_bob, of_alice = await bob.say(room_id, "Root of Bob"), await alice.say(room_id, "Root of Alice")
    await reply(alice, room_id, of_bob)
    await edit(bob, room_id, of_bob, "Still Bob")
    await reply(bob, room_id, of_alice)
    await ignore(alice, bob)
    (event,) = (await alice.get(f"{V1}/{room_id}/threads"))["chunk"]
    assert (event["event_id"], event["content"]) == (of_bob, {})
    assert event["unsigned"]["m.relations"].keys() == {"m.thread"}
    assert (await bob.get(f"{V1}/{room_id}/threads"))["chunk"][1]["content"]["body"] == "Root of Bob"


async def test_a_redacted_root_still_has_its_thread(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    await reply(alice, room_id, root)
    await alice.put(f"rooms/{room_id}/redact/{root}/1", {})
    (event,) = (await alice.get(f"{V1}/{room_id}/threads"))["chunk"]
    assert event["content"] == {}
    assert event["unsigned"]["m.relations"]["m.thread"]["count"] == 1


async def test_who_may_not_see_the_root_is_not_told_of_the_thread(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    hidden = await alice.say(room_id, "Hidden")
    await bob.refused(403, "M_FORBIDDEN", "GET", f"{V1}/{room_id}/threads")
    await bob.join(room_id)
    seen = await alice.say(room_id, "Seen")
    for root in (hidden, seen):
        await reply(alice, room_id, root)
    assert await threads(bob, room_id) == [seen]
    await bob.leave(room_id)
    later = await alice.say(room_id, "Later")
    await reply(alice, room_id, later)
    await reply(alice, room_id, seen)
    (event,) = (await bob.get(f"{V1}/{room_id}/threads"))["chunk"]
    assert event["unsigned"]["m.relations"]["m.thread"]["count"] == 1


async def test_rooms_that_are_not_there(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.refused(403, "M_FORBIDDEN", "GET", f"{V1}/!unknown:hospital.example/threads")


@pytest.mark.parametrize("query", [{"from_": "nonsense"}, {"limit": "0"}, {"limit": "-1"}, {"include": "some"}])
async def test_queries_of_the_wrong_form(hospital: Hospital, query: dict[str, str]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(400, "M_INVALID_PARAM", "GET", f"{V1}/{room_id}/threads", **query)
