"""`relations.yaml`: what relates to an event."""

from typing import Any

import pytest

from tests.people import Hospital, Person
from tests.relating import edit, ignore, react, relates, reply

V1 = "/_matrix/client/v1/rooms"


async def children(person: Person, room_id: str, parent: str, *types: str, **query: Any) -> dict[str, Any]:
    """A page of `/relations`."""
    page: dict[str, Any] = await person.get("/".join((f"{V1}/{room_id}/relations/{parent}", *types)), **query)
    return page


def ids(page: dict[str, Any]) -> list[str]:
    return [event["event_id"] for event in page["chunk"]]


async def test_children_are_listed_newest_first(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    parent = await alice.say(room_id, "The rounds begin at eight")
    related = [await bob.send(room_id, relates("org.example.note", parent)) for _ in range(3)]
    await bob.say(room_id, "Not related")
    page = await children(alice, room_id, parent)
    assert ids(page) == related[::-1]
    assert page["chunk"][0]["room_id"] == room_id
    assert "next_batch" not in page and "prev_batch" not in page and "recursion_depth" not in page
    assert ids(await children(alice, room_id, parent, dir="f")) == related


async def test_nothing_relates_to_the_event(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    assert (await children(alice, room_id, await alice.say(room_id, "Alone")))["chunk"] == []


async def test_children_of_one_relation_and_event_type(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    reaction = await react(alice, room_id, parent, "👍")
    threaded = await reply(alice, room_id, parent)
    other = await alice.send(room_id, relates("m.thread", parent), type="org.example.note")
    assert ids(await children(alice, room_id, parent)) == [other, threaded, reaction]
    assert ids(await children(alice, room_id, parent, "m.thread")) == [other, threaded]
    assert ids(await children(alice, room_id, parent, "m.thread", "m.room.message")) == [threaded]
    assert ids(await children(alice, room_id, parent, "m.annotation", "m.room.message")) == []


@pytest.mark.parametrize("direction", ["b", "f"])
@pytest.mark.parametrize("recurse", [None, "true"])
async def test_paging(hospital: Hospital, direction: str, recurse: str | None) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    related = [await reply(alice, room_id, parent) for _ in range(5)]
    found: list[str] = []
    start = None
    for size in (2, 2, 1):
        page = await children(alice, room_id, parent, limit=2, from_=start, dir=direction, recurse=recurse)
        assert len(page["chunk"]) == size
        assert page.get("prev_batch") == start
        found += ids(page)
        start = page.get("next_batch")
    assert start is None
    assert found == (related if direction == "f" else related[::-1])


async def test_a_page_ends_at_the_token_to(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    related = [await reply(alice, room_id, parent) for _ in range(4)]
    middle = (await children(alice, room_id, parent, limit=2))["next_batch"]
    assert ids(await children(alice, room_id, parent, to=middle)) == related[:1:-1]
    assert ids(await children(alice, room_id, parent, from_=middle, to=middle)) == []
    synced = (await alice.get("sync"))["next_batch"]
    later = await reply(alice, room_id, parent)
    assert ids(await children(alice, room_id, parent, from_=synced)) == related[::-1]
    assert ids(await children(alice, room_id, parent, from_=synced, dir="f")) == [later]


async def test_indirect_relations_are_followed_three_levels(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    chain = [await alice.say(room_id, "Root")]
    for _ in range(4):
        chain.append(await alice.send(room_id, relates("m.reference", chain[-1])))
    assert ids(await children(alice, room_id, chain[0])) == chain[1:2]
    page = await children(alice, room_id, chain[0], recurse="true")
    assert ids(page) == chain[3:0:-1]
    assert page["recursion_depth"] == 3
    assert (await children(alice, room_id, chain[0], recurse="false"))["recursion_depth"] == 1


async def test_filters_hold_for_what_lies_between(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    threaded = await reply(alice, room_id, root)
    reaction = await react(alice, room_id, threaded, "👍")
    assert ids(await children(alice, room_id, root, recurse="true")) == [reaction, threaded]
    assert ids(await children(alice, room_id, root, "m.annotation", recurse="true")) == []
    assert ids(await children(alice, room_id, root, "m.thread", recurse="true")) == [threaded]


async def test_redacted_children_relate_to_nothing(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    first, second = await reply(alice, room_id, parent), await reply(alice, room_id, parent)
    await alice.put(f"rooms/{room_id}/redact/{first}/1", {})
    assert ids(await children(alice, room_id, parent)) == [second]


async def test_children_of_a_redacted_event_remain(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    child = await reply(alice, room_id, parent)
    await alice.put(f"rooms/{room_id}/redact/{parent}/1", {})
    assert ids(await children(alice, room_id, parent)) == [child]


async def test_children_have_aggregations_of_their_own(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    child = await reply(alice, room_id, parent, "wrong")
    edited = await edit(alice, room_id, child, "right")
    (event,) = (await children(alice, room_id, parent))["chunk"]
    assert event["content"]["body"] == "wrong"
    assert event["unsigned"]["m.relations"]["m.replace"]["event_id"] == edited


async def test_ignored_users_relate_to_nothing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    parent = await alice.say(room_id, "Parent")
    own = await reply(alice, room_id, parent)
    await reply(bob, room_id, parent)
    await ignore(alice, bob)
    assert ids(await children(alice, room_id, parent)) == [own]
    assert len(ids(await children(bob, room_id, parent))) == 2


async def test_children_that_the_user_may_not_see(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    await bob.join(room_id)
    parent = await alice.say(room_id, "Parent")
    first = await reply(alice, room_id, parent)
    await bob.leave(room_id)
    second = await reply(alice, room_id, parent)
    assert ids(await children(bob, room_id, parent)) == [first]
    await bob.join(room_id)
    third = await reply(alice, room_id, parent)
    assert ids(await children(bob, room_id, parent)) == [third, first]
    assert ids(await children(alice, room_id, parent)) == [third, second, first]


async def test_events_that_the_user_may_not_see_have_no_children(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    await alice.set_state(room_id, "m.room.history_visibility", {"history_visibility": "joined"})
    parent = await alice.say(room_id, "Parent")
    await reply(alice, room_id, parent)
    path = f"{V1}/{room_id}/relations/{parent}"
    await bob.refused(404, "M_NOT_FOUND", "GET", path)
    await bob.join(room_id)
    await bob.refused(404, "M_NOT_FOUND", "GET", path)
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{V1}/{other}/relations/{parent}")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{V1}/{room_id}/relations/$unknown")
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{V1}/!unknown:hospital.example/relations/{parent}")


@pytest.mark.parametrize(
    "query", [{"from_": "nonsense"}, {"to": "x"}, {"limit": "0"}, {"limit": "x"}, {"dir": "up"}, {"recurse": "maybe"}]
)
async def test_queries_of_the_wrong_form(hospital: Hospital, query: dict[str, str]) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    await alice.refused(400, "M_INVALID_PARAM", "GET", f"{V1}/{room_id}/relations/{parent}", **query)


async def test_relations_across_rooms_count_for_nothing(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id, other = await alice.create_room(), await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    await reply(alice, other, parent)
    assert ids(await children(alice, room_id, parent)) == []
    assert "m.relations" not in (await alice.event(room_id, parent))["unsigned"]


async def test_the_same_annotation_twice(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    parent = await alice.say(room_id, "Parent")
    first = await react(bob, room_id, parent, "👍")
    content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": parent, "key": "👍"}}
    path = f"rooms/{room_id}/send/m.reaction"
    await bob.refused(400, "M_DUPLICATE_ANNOTATION", "PUT", f"{path}/again", content)
    others = [
        await react(bob, room_id, parent, "👎"),
        await react(alice, room_id, parent, "👍"),
        await react(bob, room_id, first, "👍"),
        await bob.send(room_id, content, type="org.example.reaction"),
    ]
    assert len({first, *others}) == 5
    await bob.put(f"rooms/{room_id}/redact/{first}/1", {})
    second = await react(bob, room_id, parent, "👍")
    assert first not in ids(await children(alice, room_id, parent)) and second != first


async def test_an_annotation_repeated_with_its_transaction_id(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": parent, "key": "👍"}}
    sent = [await alice.send(room_id, content, type="m.reaction", txn_id="one") for _ in range(2)]
    assert sent[0] == sent[1]


async def test_a_thread_does_not_start_from_what_relates_to_another_event(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    root = await alice.say(room_id, "Root")
    threaded, reaction = await reply(alice, room_id, root), await react(alice, room_id, root, "👍")
    for child in (threaded, reaction):
        path = f"rooms/{room_id}/send/m.room.message/{child}"
        await alice.refused(400, "M_UNKNOWN", "PUT", path, relates("m.thread", child))
    rich_reply = {"msgtype": "m.text", "body": "yes", "m.relates_to": {"m.in_reply_to": {"event_id": root}}}
    await reply(alice, room_id, await alice.send(room_id, rich_reply))
    await alice.put(f"rooms/{room_id}/redact/{reaction}/1", {})
    await reply(alice, room_id, reaction)


@pytest.mark.parametrize(
    "relates_to",
    [
        "x",
        [],
        {},
        {"rel_type": "m.thread"},
        {"event_id": "{parent}"},
        {"rel_type": 1, "event_id": "{parent}"},
        {"rel_type": "", "event_id": "{parent}"},
        {"rel_type": "x" * 300, "event_id": "{parent}"},
        {"rel_type": "m.thread", "event_id": ["{parent}"]},
        {"rel_type": "m.thread", "event_id": "parent"},
        {"rel_type": "m.thread", "event_id": "$" + "x" * 300},
        {"rel_type": "m.annotation", "event_id": "{parent}"},
        {"rel_type": "m.annotation", "event_id": "{parent}", "key": 1},
        {"rel_type": "m.replace", "event_id": "{parent}"},
        {"m.in_reply_to": {"event_id": "{parent}"}},
    ],
)
async def test_what_is_no_relation_is_an_event_like_others(hospital: Hospital, relates_to: Any) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    parent = await alice.say(room_id, "Parent")
    if isinstance(relates_to, dict):
        relates_to = {key: parent if value == "{parent}" else value for key, value in relates_to.items()}
    event_id = await alice.send(room_id, {"msgtype": "m.text", "body": "x", "m.relates_to": relates_to})
    assert (await alice.event(room_id, event_id))["content"]["m.relates_to"] == relates_to
    assert ids(await children(alice, room_id, parent)) == []
