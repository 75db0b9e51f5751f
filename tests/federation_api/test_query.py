"""Profiles and aliases: what other servers are told, and what clients learn of other servers."""

from typing import Any
from urllib.parse import quote

from aiohttp import web

from tests.conftest import Neighbourhood

PROFILE = "/_matrix/federation/v1/query/profile"
DIRECTORY = "/_matrix/federation/v1/query/directory"
CAROL = "@carol:peer.example"


async def test_a_profile_is_told_whole_or_by_field(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person(displayname="Dr. Alice")
    await alice.put(f"profile/{alice.user_id}/org.example.ward", {"org.example.ward": 3})
    ask, path = neighbourhood.peer.ask, f"{PROFILE}?user_id={quote(alice.user_id)}"
    whole = {"displayname": "Dr. Alice", "org.example.ward": 3}
    assert await ask("a.example", "GET", path) == (200, whole)
    assert await ask("a.example", "GET", f"{path}&field=displayname") == (200, {"displayname": "Dr. Alice"})
    assert await ask("a.example", "GET", f"{path}&field=avatar_url") == (200, {})


async def test_profiles_of_others_and_of_nobody_are_not_found(neighbourhood: Neighbourhood) -> None:
    for user_id in ("@nobody:a.example", "@bob:b.example"):
        status, answer = await neighbourhood.peer.ask("a.example", "GET", f"{PROFILE}?user_id={quote(user_id)}")
        assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")


async def test_an_alias_is_told_with_servers_in_the_room(neighbourhood: Neighbourhood) -> None:
    alice = await neighbourhood.a.person()
    room_id = await alice.create_room(room_alias_name="ward-3")
    path = f"{DIRECTORY}?room_alias={quote('#ward-3:a.example')}"
    assert await neighbourhood.peer.ask("a.example", "GET", path) == (
        200,
        {"room_id": room_id, "servers": ["a.example"]},
    )
    status, answer = await neighbourhood.peer.ask("a.example", "GET", f"{DIRECTORY}?room_alias=%23x:b.example")
    assert (status, answer["errcode"]) == (404, "M_NOT_FOUND")


async def test_questions_of_other_types_are_not_answered(neighbourhood: Neighbourhood) -> None:
    status, _ = await neighbourhood.peer.ask("a.example", "GET", "/_matrix/federation/v1/query/weather")
    assert status == 400


async def test_clients_learn_profiles_and_aliases_of_another_hospital(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person(displayname="Dr. Bob")
    room_id = await bob.create_room(room_alias_name="ward-4")
    assert await alice.get(f"profile/{quote(bob.user_id)}") == {"displayname": "Dr. Bob"}
    assert await alice.get(f"profile/{quote(bob.user_id)}/displayname") == {"displayname": "Dr. Bob"}
    await alice.refused(404, "M_NOT_FOUND", "GET", "profile/@nobody:b.example")
    resolved = await alice.get(f"directory/room/{quote('#ward-4:b.example')}")
    assert resolved == {"room_id": room_id, "servers": ["b.example"]}
    await alice.refused(404, "M_NOT_FOUND", "GET", f"directory/room/{quote('#nowhere:b.example')}")


async def test_who_joins_by_an_alias_comes_into_the_room_that_has_it_now(neighbourhood: Neighbourhood) -> None:
    alice, bob = await neighbourhood.a.person(), await neighbourhood.b.person()
    alias = quote("#moved:b.example")
    await bob.create_room(room_alias_name="moved")
    await alice.get(f"directory/room/{alias}")
    await bob.expect(200, "DELETE", f"directory/room/{alias}")
    room_id = await bob.create_room(room_alias_name="moved")
    assert (await alice.post(f"join/{alias}"))["room_id"] == room_id


async def test_who_has_no_account_is_not_told_of_other_servers(neighbourhood: Neighbourhood) -> None:
    bob = await neighbourhood.b.person(displayname="Dr. Bob")
    path = f"/_matrix/client/v3/profile/{quote(bob.user_id)}"
    async with neighbourhood.a.session.get(path) as response:
        assert response.status == 403


async def test_an_answer_that_is_none_is_told_as_such(neighbourhood: Neighbourhood) -> None:
    alice, answers = await neighbourhood.a.person(), neighbourhood.peer.answers
    garbage: list[Any] = [{"room_id": 7}, {"room_id": "no id", "servers": []}, web.Response(text="[]"), {}]
    for number, answer in enumerate(garbage):
        answers["GET", DIRECTORY] = answer
        await alice.refused(502, "M_UNKNOWN", "GET", f"directory/room/{quote(f'#x{number}:peer.example')}")
    answers["GET", DIRECTORY] = {"room_id": "!r:peer.example", "servers": ["peer.example", "not a name", 7]}
    resolved = await alice.get(f"directory/room/{quote('#y:peer.example')}")
    assert resolved["servers"] == ["peer.example"]
    answers["GET", PROFILE] = {"displayname": None, "x.y": "z" * 70_000, "avatar_url": "mxc://a/b"}
    assert await alice.get(f"profile/{CAROL}") == {}


async def test_what_another_server_said_is_remembered_for_a_while(neighbourhood: Neighbourhood) -> None:
    alice, peer = await neighbourhood.a.person(), neighbourhood.peer
    peer.answers["GET", PROFILE] = {"displayname": "Dan"}
    before = len(peer.asked(PROFILE))
    for _ in range(3):
        assert await alice.get("profile/@dan:peer.example") == {"displayname": "Dan"}
    assert len(peer.asked(PROFILE)) == before + 1
