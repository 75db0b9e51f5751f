"""`users.yaml`: whom users find, by which words, and whom they don't."""

import secrets
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.people import PASSWORD, SERVER, Hospital, Person, run_hospital


async def search(person: Person, term: str, **body: Any) -> Any:
    return await person.post("user_directory/search", {"search_term": term, **body})


async def finds(person: Person, term: str, **body: Any) -> list[str]:
    """The ids of the users whom a search finds, in order."""
    return [user["user_id"] for user in (await search(person, term, **body))["results"]]


def new_name() -> str:
    """A name that nobody has, of letters only."""
    return "".join(chr(ord("a") + byte % 26) for byte in secrets.token_bytes(10))


async def colleagues(hospital: Hospital, *profiles: dict[str, str]) -> list[Person]:
    """Somebody, and others in one private room, with these profiles."""
    first = await hospital.person()
    others = [await hospital.person(**profile) for profile in profiles]
    room_id = await first.create_room(preset="private_chat", invite=[other.user_id for other in others])
    for other in others:
        await other.join(room_id)
    return [first, *others]


async def test_what_is_told_of_a_user(hospital: Hospital) -> None:
    name = new_name()
    profile = {"displayname": f"Dr. {name}", "avatar_url": f"mxc://{SERVER}/face"}
    alice, bob = await colleagues(hospital, profile)
    assert await search(alice, name) == {
        "results": [
            {"user_id": bob.user_id, "display_name": f"Dr. {name}", "avatar_url": f"mxc://{SERVER}/face"},
        ],
        "limited": False,
    }


async def test_words_are_found_by_their_beginning_without_case_and_accents(hospital: Hospital) -> None:
    name = new_name()
    alice, bob = await colleagues(hospital, {"displayname": f"Dr. Zoë Müller-{name.title()} (ICU)"})
    for term in (name, name.upper(), name[:6], f"zoe {name}", f"  {name},  MÜLL ", f"icu {name}", f"müller-{name}"):
        assert await finds(alice, term) == [bob.user_id], term
    for term in (name[1:], f"{name}x", f"{name} nobody", "", "  ", "-", "@", ":"):
        assert await finds(alice, term) == [], term


async def test_user_ids_are_found_whole_or_by_their_beginning(hospital: Hospital) -> None:
    localpart = f"{new_name()}.{new_name()}"
    alice = await hospital.person()
    bob = await hospital.person(localpart)
    await bob.join(await alice.create_room())
    first, second = localpart.split(".")
    for term in (localpart, first, second, f"@{localpart}", f"@{first}", bob.user_id, bob.user_id[1:]):
        assert await finds(alice, term) == [bob.user_id], term
    assert await finds(alice, f"@{second}") == []
    assert await finds(alice, f"@{localpart}:elsewhere.example") == []


async def test_a_changed_name_is_found_at_once_and_the_old_one_no_more(hospital: Hospital) -> None:
    old, new = new_name(), new_name()
    alice, bob = await colleagues(hospital, {"displayname": old})
    await bob.put(f"profile/{bob.user_id}/displayname", {"displayname": new})
    assert (await finds(alice, old), await finds(alice, new)) == ([], [bob.user_id])
    await bob.expect(200, "DELETE", f"profile/{bob.user_id}/displayname")
    assert await finds(alice, new) == []
    assert await search(alice, bob.user_id) == {"results": [{"user_id": bob.user_id}], "limited": False}


async def test_whole_words_come_first_and_the_rest_is_cut(hospital: Hospital) -> None:
    name = new_name()
    names = [f"{name}{n}" for n in range(3)] + [f"{name}"]
    alice, *others = await colleagues(hospital, *({"displayname": each} for each in names))
    rest = sorted(other.user_id for other in others[:3])
    answer = await search(alice, name, limit=2)
    assert ([user["user_id"] for user in answer["results"]], answer["limited"]) == ([others[3].user_id, rest[0]], True)
    assert await finds(alice, name) == [others[3].user_id, *rest]


async def test_strangers_are_found_only_in_public_rooms(hospital: Hospital) -> None:
    name = new_name()
    alice, bob = await hospital.person(), await hospital.person(displayname=name)
    assert await finds(alice, name) == []
    assert await finds(bob, name) == []
    closed = await bob.create_room(preset="private_chat")
    assert await finds(alice, name) == []
    for event_type, opened, shut in (
        ("m.room.join_rules", {"join_rule": "public"}, {"join_rule": "invite"}),
        ("m.room.history_visibility", {"history_visibility": "world_readable"}, {"history_visibility": "shared"}),
    ):
        await bob.set_state(closed, event_type, opened)
        assert await finds(alice, name) == await finds(bob, name) == [bob.user_id]
        await bob.set_state(closed, event_type, shut)
        assert await finds(alice, name) == []
    public = await bob.create_room(preset="public_chat")
    assert await finds(alice, name) == [bob.user_id]
    await bob.leave(public)
    assert await finds(alice, name) == []


async def test_who_is_only_invited_shares_no_room(hospital: Hospital) -> None:
    name = new_name()
    alice, bob = await hospital.person(), await hospital.person(displayname=name)
    room_id = await alice.create_room(preset="private_chat", invite=[bob.user_id])
    assert await finds(alice, name) == []
    await bob.join(room_id)
    assert await finds(alice, name) == [bob.user_id]
    await alice.leave(room_id)
    assert await finds(alice, name) == []


async def test_who_has_left_for_good_is_not_found(hospital: Hospital) -> None:
    name = new_name()
    alice, bob = await colleagues(hospital, {"displayname": name})
    auth = {
        "type": "m.login.password",
        "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": bob.user_id},
    }
    await bob.post("account/deactivate", {"auth": auth})
    assert await finds(alice, name) == await finds(alice, bob.user_id) == []


@pytest.mark.parametrize("body", [{}, {"search_term": 1}, {"search_term": "x", "limit": 0}])
async def test_bad_searches(hospital: Hospital, body: dict[str, Any]) -> None:
    expected = {0: "M_MISSING_PARAM", 1: "M_BAD_JSON", 2: "M_INVALID_PARAM"}[len(body)]
    await (await hospital.person()).refused(400, expected, "POST", "user_directory/search", body)


@pytest.fixture(scope="module")
async def open_hospital(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    """A hospital whose members all know of each other."""
    directory = {"search_all_users": True, "results_max": 2}
    folder = tmp_path_factory.mktemp("open")
    async with run_hospital(tenant_dsn, folder, user_directory=directory) as hospital:
        yield hospital


async def test_everybody_is_found_where_the_server_says_so(open_hospital: Hospital) -> None:
    name = new_name()
    alice, *others = [await open_hospital.person(displayname=f"{name} {n}") for n in range(4)]
    answer = await search(alice, f"{name} {others[0].user_id}")
    assert [user["user_id"] for user in answer["results"]] == [others[0].user_id]
    answer = await search(alice, name, limit=50)
    assert (len(answer["results"]), answer["limited"]) == (2, True)
