"""`tags.yaml`."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from tests.client_api.test_receipts import sync
from tests.people import Hospital, Person


def tags_of(person: Person, room_id: str, tag: str = "") -> str:
    """The path of all tags, or of one."""
    return f"user/{person.user_id}/rooms/{room_id}/tags" + (f"/{quote(tag, safe='')}" if tag else "")


async def test_tags_are_added_listed_and_taken_away(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    assert await alice.get(tags_of(alice, room_id)) == {"tags": {}}
    since = (await sync(alice))["next_batch"]
    await alice.put(tags_of(alice, room_id, "m.favourite"), {"order": 0.25})
    await alice.put(tags_of(alice, room_id, "u.On call/Größe"), {"org.example": [1]})
    expected = {"m.favourite": {"order": 0.25}, "u.On call/Größe": {"org.example": [1]}}
    assert await alice.get(tags_of(alice, room_id)) == {"tags": expected}
    answer = await sync(alice, since)
    told = answer["rooms"]["join"][room_id]["account_data"]["events"]
    assert told == [{"type": "m.tag", "content": {"tags": expected}}]
    await alice.expect(200, "DELETE", tags_of(alice, room_id, "m.favourite"))
    told = (await sync(alice, answer["next_batch"]))["rooms"]["join"][room_id]["account_data"]["events"]
    assert told == [{"type": "m.tag", "content": {"tags": {"u.On call/Größe": {"org.example": [1]}}}}]


async def test_what_changes_nothing_is_not_told(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.put(tags_of(alice, room_id, "u.work"), {"order": 1})
    since = (await sync(alice))["next_batch"]
    await alice.put(tags_of(alice, room_id, "u.work"), {"order": 1})
    await alice.expect(200, "DELETE", tags_of(alice, room_id, "u.unknown"))
    assert (await sync(alice, since))["next_batch"] == since


async def test_devices_that_tag_at_once_lose_nothing(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await asyncio.gather(*(alice.put(tags_of(alice, room_id, f"u.{number}"), {}) for number in range(20)))
    assert len((await alice.get(tags_of(alice, room_id)))["tags"]) == 20


@pytest.mark.parametrize(
    ("tag", "body", "status", "errcode"),
    [
        ("x" * 256, {}, 400, "M_INVALID_PARAM"),
        ("ü" * 128, {}, 400, "M_INVALID_PARAM"),
        ("u.x", {"order": "0.5"}, 400, "M_BAD_JSON"),
        ("u.x", {"order": True}, 400, "M_BAD_JSON"),
        ("u.x", {"order": None}, 400, "M_BAD_JSON"),
        ("u.x", {"order": 1.5}, 400, "M_INVALID_PARAM"),
        ("u.x", {"order": -0.1}, 400, "M_INVALID_PARAM"),
        ("u.x", {"note": "x" * 70_000}, 413, "M_TOO_LARGE"),
        ("u.x", [], 400, "M_BAD_JSON"),
    ],
)
async def test_a_bad_tag_is_refused(hospital: Hospital, tag: str, body: Any, status: int, errcode: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(status, errcode, "PUT", tags_of(alice, room_id, tag), body)
    assert await alice.get(tags_of(alice, room_id)) == {"tags": {}}


async def test_a_room_has_only_so_many_tags(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    full = {"tags": {f"u.{number}": {} for number in range(100)}}
    await alice.put(f"user/{alice.user_id}/rooms/{room_id}/account_data/m.tag", full)
    await alice.refused(413, "M_TOO_LARGE", "PUT", tags_of(alice, room_id, "u.more"), {})
    await alice.put(tags_of(alice, room_id, "u.1"), {"order": 0})


async def test_tags_belong_to_their_user(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.refused(403, "M_FORBIDDEN", "GET", tags_of(alice, room_id))
    await bob.refused(403, "M_FORBIDDEN", "PUT", tags_of(alice, room_id, "u.x"), {})
    await bob.refused(403, "M_FORBIDDEN", "DELETE", tags_of(alice, room_id, "u.x"))


async def test_account_data_that_holds_no_tags_is_taken_as_none(hospital: Hospital) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.put(f"user/{alice.user_id}/rooms/{room_id}/account_data/m.tag", {"tags": [1]})
    assert await alice.get(tags_of(alice, room_id)) == {"tags": {}}
    await alice.put(tags_of(alice, room_id, "u.x"), {})
    assert await alice.get(tags_of(alice, room_id)) == {"tags": {"u.x": {}}}
