"""`space_hierarchy.yaml`: the tree of rooms below a space."""

from typing import Any

import pytest

from tests.people import SERVER, Hospital, Person


async def space_of(owner: Person, *children: str, **options: Any) -> str:
    """A public space that holds these rooms, in this order."""
    room_id = await owner.create_room(creation_content={"type": "m.space"}, **options)
    for number, child in enumerate(children):
        await hold(owner, room_id, child, order=f"{number:02}")
    return room_id


async def hold(owner: Person, space: str, child: str, **content: Any) -> str:
    return await owner.set_state(space, "m.space.child", {"via": [SERVER], **content}, child)


async def hierarchy(person: Person, room_id: str, **query: Any) -> Any:
    return await person.get(f"/_matrix/client/v1/rooms/{room_id}/hierarchy", **query)


async def tree(person: Person, room_id: str, **query: Any) -> list[str]:
    """The rooms of the tree, in order."""
    return [room["room_id"] for room in (await hierarchy(person, room_id, **query))["rooms"]]


async def test_what_is_told(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    ward = await alice.create_room(name="Ward")
    space = await space_of(alice, ward, name="Clinic")
    answer = await hierarchy(bob, space)
    (state,) = answer["rooms"][0].pop("children_state")
    event = await alice.get(f"rooms/{space}/state/m.space.child/{ward}", format="event")
    assert state == {key: event[key] for key in ("type", "state_key", "content", "sender", "origin_server_ts")}
    common = {"num_joined_members": 1, "world_readable": False, "guest_can_join": False, "join_rule": "public"}
    assert answer == {
        "rooms": [
            {"room_id": space, "name": "Clinic", "room_type": "m.space", "room_version": "12", **common},
            {"room_id": ward, "name": "Ward", "room_version": "12", "children_state": [], **common},
        ]
    }


async def test_rooms_come_depth_first(hospital: Hospital) -> None:
    alice = await hospital.person()
    rooms = [await alice.create_room() for _ in range(4)]
    inner = await space_of(alice, rooms[0], rooms[1])
    outer = await space_of(alice, rooms[2], inner, rooms[3])
    assert await tree(alice, outer) == [outer, rooms[2], inner, rooms[0], rooms[1], rooms[3]]


async def test_children_with_an_order_come_first_and_others_by_age(hospital: Hospital) -> None:
    alice = await hospital.person()
    rooms = [await alice.create_room() for _ in range(6)]
    space = await space_of(alice)
    orders = [None, "b", "a", "\u00e4", " ", 7]
    for room_id, order in zip(rooms, orders, strict=True):
        await hold(alice, space, room_id, **({} if order is None else {"order": order}))
    expected = [rooms[4], rooms[2], rooms[1], rooms[0], rooms[3], rooms[5]]
    assert await tree(alice, space) == [space, *expected]
    (first, *_) = (await hierarchy(alice, space))["rooms"]
    assert [state["state_key"] for state in first["children_state"]] == expected


async def test_loops_end(hospital: Hospital) -> None:
    alice = await hospital.person()
    inner = await space_of(alice)
    outer = await space_of(alice, inner)
    await hold(alice, inner, outer)
    await hold(alice, inner, inner)
    assert await tree(alice, outer) == [outer, inner]
    assert await tree(alice, inner) == [inner, outer]


async def test_what_is_no_child_is_left_out(hospital: Hospital) -> None:
    alice = await hospital.person()
    taken_out, redacted, unknown = [await alice.create_room() for _ in range(3)]
    space = await space_of(alice, taken_out, f"!unknown:{SERVER}")
    event_id = await hold(alice, space, redacted)
    await alice.put(f"rooms/{space}/redact/{event_id}/1", {})
    await alice.set_state(space, "m.space.child", {}, taken_out)
    for number, via in enumerate(([], "x", [1], None)):
        await alice.set_state(space, "m.space.child", {"via": via}, f"{unknown}{number}")
    await alice.set_state(space, "m.space.child", {"via": [SERVER]}, "no room id")
    assert await tree(alice, space) == [space]


async def test_children_of_what_is_no_space_do_not_count(hospital: Hospital) -> None:
    alice = await hospital.person()
    ward, room = await alice.create_room(), await alice.create_room()
    await hold(alice, room, ward)
    assert (await hierarchy(alice, room))["rooms"][0]["children_state"] == []
    assert await tree(alice, room) == [room]


async def test_only_what_one_may_find_is_told(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    below = await alice.create_room()
    closed = await space_of(alice, below, preset="private_chat")
    invited = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    banned = await alice.create_room()
    await alice.post(f"rooms/{banned}/ban", {"user_id": bob.user_id})
    space = await space_of(alice, closed, invited, banned)
    allow = [{"type": "m.room_membership", "room_id": space}]
    rules = {"type": "m.room.join_rules", "content": {"join_rule": "restricted", "allow": allow}}
    restricted = await alice.create_room(preset="private_chat", initial_state=[rules])
    await hold(alice, space, restricted)
    assert await tree(alice, space) == [space, closed, below, invited, banned, restricted]
    assert await tree(bob, space) == [space, invited]
    await bob.join(space)
    answer = await hierarchy(bob, space)
    assert [room["room_id"] for room in answer["rooms"]] == [space, invited, restricted]
    assert answer["rooms"][2]["allowed_room_ids"] == [space]


@pytest.mark.parametrize("preset", ["private_chat", None])
async def test_a_space_that_one_may_not_find(hospital: Hospital, preset: str | None) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    space = await space_of(alice, preset=preset) if preset else f"!unknown:{SERVER}"
    await bob.refused(403, "M_FORBIDDEN", "GET", f"/_matrix/client/v1/rooms/{space}/hierarchy")


async def test_suggested_only(hospital: Hospital) -> None:
    alice = await hospital.person()
    rooms = [await alice.create_room() for _ in range(3)]
    space = await space_of(alice)
    for room_id, suggested in zip(rooms, (True, False, "true"), strict=True):
        await hold(alice, space, room_id, suggested=suggested)
    answer = await hierarchy(alice, space, suggested_only="true")
    assert [room["room_id"] for room in answer["rooms"]] == [space, rooms[0]]
    assert [state["state_key"] for state in answer["rooms"][0]["children_state"]] == [rooms[0]]


async def test_max_depth(hospital: Hospital) -> None:
    alice = await hospital.person()
    chain = [await alice.create_room()]
    for _ in range(3):
        chain.insert(0, await space_of(alice, chain[0]))
    for depth in range(4):
        assert await tree(alice, chain[0], max_depth=depth) == chain[: depth + 1]
    assert await tree(alice, chain[0], max_depth=1_000) == chain


async def test_pages(hospital: Hospital) -> None:
    alice = await hospital.person()
    rooms = [await alice.create_room() for _ in range(4)]
    space = await space_of(alice, *rooms)
    first = await hierarchy(alice, space, limit=2, max_depth=3)
    assert [room["room_id"] for room in first["rooms"]] == [space, rooms[0]]
    path, token = f"/_matrix/client/v1/rooms/{space}/hierarchy", first["next_batch"]
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, from_=token, max_depth=2)
    await alice.refused(400, "M_INVALID_PARAM", "GET", path, from_=token, max_depth=3, suggested_only="true")
    second = await hierarchy(alice, space, limit=3, max_depth=3, from_=token)
    assert [room["room_id"] for room in second["rooms"]] == rooms[1:]
    assert "next_batch" not in second


@pytest.mark.parametrize("query", [{"limit": 0}, {"max_depth": -1}, {"from_": "x"}, {"suggested_only": "maybe"}])
async def test_bad_queries(hospital: Hospital, query: dict[str, Any]) -> None:
    alice = await hospital.person()
    space = await space_of(alice)
    await alice.refused(400, "M_INVALID_PARAM", "GET", f"/_matrix/client/v1/rooms/{space}/hierarchy", **query)
