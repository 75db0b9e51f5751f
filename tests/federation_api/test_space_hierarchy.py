"""Spaces over federation: what others are told of ours, and trees that reach into other hospitals."""

from typing import Any
from urllib.parse import quote

from tests.conftest import Neighbourhood
from tests.people import Person

HIERARCHY = "/_matrix/federation/v1/hierarchy"


async def space_of(person: Person, *children: tuple[str, str], **options: Any) -> str:
    """A space that holds these rooms, each with a server to join it through."""
    options = {"preset": "public_chat", "creation_content": {"type": "m.space"}, **options}
    space = await person.create_room(**options)
    for number, (room_id, via) in enumerate(children):
        content = {"via": [via], "order": f"{number:03}", "suggested": number == 0}
        await person.set_state(space, "m.space.child", content, room_id)
    return space


async def tree(person: Person, space: str, **query: Any) -> list[str]:
    answer = await person.get(f"/_matrix/client/v1/rooms/{quote(space)}/hierarchy", **query)
    return [room["room_id"] for room in answer["rooms"]]


async def test_another_server_is_told_what_its_users_could_find(neighbourhood: Neighbourhood) -> None:
    alice, ask = await neighbourhood.a.person(), neighbourhood.peer.ask
    open_room = await alice.create_room(name="Open")
    closed = await alice.create_room(name="Closed", preset="private_chat")
    space = await space_of(alice, (open_room, "a.example"), (closed, "a.example"), ("!far:x.example", "x.example"))
    status, answer = await ask("a.example", "GET", f"{HIERARCHY}/{quote(space)}")
    assert status == 200
    assert [event["state_key"] for event in answer["room"]["children_state"]] == [open_room, closed, "!far:x.example"]
    assert all(event["origin_server_ts"] for event in answer["room"]["children_state"])
    assert [room["name"] for room in answer["children"]] == ["Open"]
    assert answer["inaccessible_children"] == [closed]
    _, suggested = await ask("a.example", "GET", f"{HIERARCHY}/{quote(space)}?suggested_only=true")
    assert [event["state_key"] for event in suggested["room"]["children_state"]] == [open_room]


async def test_a_space_that_its_users_can_not_find_is_not_there(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    space = await space_of(alice, preset="private_chat")
    for room_id in (space, "!nowhere:a.example"):
        status, answer = await neighbourhood.peer.ask("a.example", "GET", f"{HIERARCHY}/{quote(room_id)}")
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")


async def test_a_tree_reaches_into_another_hospital(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    room, secret = await bob.create_room(name="Ward"), await bob.create_room(preset="private_chat")
    theirs = await space_of(bob, (room, "b.example"), (secret, "b.example"))
    own = await alice.create_room()
    space = await space_of(alice, (theirs, "b.example"), (own, "a.example"))
    assert await tree(alice, space) == [space, theirs, room, own]
    assert await tree(alice, space, max_depth=1) == [space, theirs, own]


async def test_lies_about_spaces_end_somewhere(neighbourhood: Neighbourhood) -> None:
    """The peer says that each space holds two others, for ever, and tells of rooms that it was not asked about."""
    alice, peer = await neighbourhood.a.person(), neighbourhood.peer

    def room(room_id: str, **more: Any) -> dict[str, Any]:
        summary = {"room_id": room_id, "num_joined_members": 1, "world_readable": True, "guest_can_join": False}
        return {**summary, "room_type": "m.space", "join_rule": "public", **more}

    async def answer(asked: Any) -> dict[str, Any]:
        room_id = asked.path.rpartition("/")[2]
        events = [
            {
                "type": "m.space.child",
                "state_key": f"{room_id.partition(':')[0]}{number}:peer.example",
                "content": {"via": ["peer.example"]},
                "sender": "@x:peer.example",
                "origin_server_ts": 1,
            }
            for number in range(2)
        ]
        wrong = [{"type": "m.space.child"}, 7, {**events[0], "state_key": "x"}, {**events[0], "content": {"via": 7}}]
        return {
            "room": room(room_id, children_state=[*events, *wrong]),
            "children": [room("!other:a.example"), 7],
            "inaccessible_children": [],
        }

    peer.answers["GET", f"{HIERARCHY}/*"] = answer
    space = await space_of(alice, ("!r:peer.example", "peer.example"))
    rooms = await tree(alice, space, limit=50)
    assert rooms[:3] == [space, "!r:peer.example", "!r0:peer.example"]
    assert len(peer.asked(HIERARCHY)) <= 50
