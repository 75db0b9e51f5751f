"""`list_public_rooms.yaml`: pages of the public directory, and searching it."""

import secrets
from pathlib import Path
from typing import Any

import pytest

from tests.people import CLIENT, SERVER, Hospital, Person, run_hospital


async def listed(person: Person, **options: Any) -> str:
    return await person.create_room(visibility="public", **options)


async def room_ids(person: Person, term: str, **body: Any) -> list[str]:
    """The rooms that a search finds, in order."""
    page = await person.post("publicRooms", {"filter": {"generic_search_term": term}, **body})
    return [room["room_id"] for room in page["chunk"]]


async def test_what_is_told_of_a_room(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    name = secrets.token_hex(6)
    room_id = await listed(alice, name=f"Ward {name}", topic="Rounds at eight", room_alias_name=name)
    await bob.join(room_id)
    await alice.set_state(room_id, "m.room.avatar", {"url": f"mxc://{SERVER}/ward"})
    page = await bob.post("publicRooms", {"filter": {"generic_search_term": name.upper()}})
    assert page["chunk"] == [
        {
            "room_id": room_id,
            "name": f"Ward {name}",
            "topic": "Rounds at eight",
            "canonical_alias": f"#{name}:{SERVER}",
            "avatar_url": f"mxc://{SERVER}/ward",
            "num_joined_members": 2,
            "world_readable": False,
            "guest_can_join": False,
            "join_rule": "public",
        }
    ]
    assert page["total_room_count_estimate"] >= 1


async def test_the_directory_can_be_read_without_an_account(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await listed(alice)
    async with hospital.session.get(f"{CLIENT}/publicRooms") as response:
        assert response.status == 200
        assert room_id in [room["room_id"] for room in (await response.json())["chunk"]]
    async with hospital.session.post(f"{CLIENT}/publicRooms", json={}) as response:
        assert (response.status, (await response.json())["errcode"]) == (401, "M_MISSING_TOKEN")


async def test_rooms_that_are_not_listed(hospital: Hospital) -> None:
    alice = await hospital.person()
    term = secrets.token_hex(6)
    hidden = await alice.create_room(preset="public_chat", name=term)
    deserted = await listed(alice, name=term)
    await alice.leave(deserted)
    taken_out = await listed(alice, name=term)
    await alice.put(f"directory/list/room/{taken_out}", {"visibility": "private"})
    assert await room_ids(alice, term) == []
    await alice.put(f"directory/list/room/{hidden}", {"visibility": "public"})
    assert await room_ids(alice, term) == [hidden]


async def test_rooms_with_most_members_come_first_and_pages_go_both_ways(hospital: Hospital) -> None:
    people = [await hospital.person() for _ in range(3)]
    term = secrets.token_hex(6)
    rooms = [await listed(people[0], name=f"{term} {number}") for number in range(5)]
    for person in people[1:]:
        await person.join(rooms[3])
    await people[1].join(rooms[4])
    expected = [rooms[3], rooms[4], rooms[0], rooms[1], rooms[2]]
    assert await room_ids(people[0], term) == expected
    query = {"limit": 2, "filter": {"generic_search_term": term}}
    pages, since = [], None
    while True:
        page = await people[0].post("publicRooms", {**query, **({"since": since} if since else {})})
        pages.append([room["room_id"] for room in page["chunk"]])
        since = page.get("next_batch")
        if since is None:
            break
    assert pages == [expected[:2], expected[2:4], expected[4:]]
    back = []
    while "prev_batch" in page:
        page = await people[0].post("publicRooms", {**query, "since": page["prev_batch"]})
        assert "next_batch" in page
        back.append([room["room_id"] for room in page["chunk"]])
    assert back == [expected[2:4], expected[:2]]


async def test_searching_name_topic_and_alias(hospital: Hospital) -> None:
    alice = await hospital.person()
    term = secrets.token_hex(6)
    found = {
        await listed(alice, name=f"Ward {term}"),
        await listed(alice, topic=f"about {term.upper()}"),
        await listed(alice, room_alias_name=f"of-{term}"),
    }
    await listed(alice, name="Ward of others")
    assert {*await room_ids(alice, term)} == found


async def test_rooms_of_some_types(hospital: Hospital) -> None:
    alice = await hospital.person()
    term = secrets.token_hex(6)
    room = await listed(alice, name=term)
    space = await listed(alice, name=term, creation_content={"type": "m.space"})

    async def of_types(*types: str | None) -> set[str]:
        body = {"filter": {"generic_search_term": term, "room_types": [*types]}}
        return {found["room_id"] for found in (await alice.post("publicRooms", body))["chunk"]}

    assert await of_types("m.space") == {space}
    assert await of_types(None) == {room}
    assert await of_types(None, "m.space") == {room, space}
    assert await of_types() == set()


async def test_a_redacted_name_is_not_found(hospital: Hospital) -> None:
    alice = await hospital.person()
    term = secrets.token_hex(6)
    room_id = await listed(alice)
    event_id = await alice.set_state(room_id, "m.room.name", {"name": term})
    assert await room_ids(alice, term) == [room_id]
    await alice.put(f"rooms/{room_id}/redact/{event_id}/1", {})
    assert await room_ids(alice, term) == []


async def test_other_servers_and_networks(hospital: Hospital) -> None:
    alice = await hospital.person()
    await listed(alice)
    assert (await alice.get("publicRooms", server=SERVER))["chunk"]
    await alice.refused(502, "M_UNKNOWN", "GET", "publicRooms", server="elsewhere.example")
    await alice.refused(502, "M_UNKNOWN", "POST", "publicRooms", {}, server="elsewhere.example")
    assert (await alice.post("publicRooms", {"third_party_instance_id": "irc"}))["chunk"] == []
    assert (await alice.post("publicRooms", {"include_all_networks": True}))["chunk"]


@pytest.mark.parametrize("query", [{"since": "x"}, {"since": "n1"}, {"limit": -1}, {"limit": "many"}, {"server": "?"}])
async def test_bad_queries(hospital: Hospital, query: dict[str, Any]) -> None:
    await (await hospital.person()).refused(400, "M_INVALID_PARAM", "GET", "publicRooms", **query)


async def test_searching_has_a_limit_of_its_own(tenant_dsn: str, tmp_path: Path) -> None:
    limits = {"directory": {"per_second": 0.001, "burst": 4}}
    async with run_hospital(tenant_dsn, tmp_path, rate_limits=limits) as hospital:
        alice = await hospital.person()
        room_id = await alice.create_room(creation_content={"type": "m.space"})
        costly: list[tuple[str, str, Any]] = [
            ("GET", "publicRooms", None),
            ("POST", "publicRooms", {}),
            ("POST", "user_directory/search", {"search_term": "x"}),
            ("GET", f"/_matrix/client/v1/rooms/{room_id}/hierarchy", None),
        ]
        for method, path, body in costly:
            await alice.expect(200, method, path, body)
        for method, path, body in costly:
            await alice.refused(429, "M_LIMIT_EXCEEDED", method, path, body)
        await alice.get("joined_rooms")
