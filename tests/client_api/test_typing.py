"""`typing.yaml`, and typing in `/sync`."""

import asyncio
import json
from typing import Any

import pytest

from tests.client_api.test_receipts import sync
from tests.people import Hospital, Person


async def types(person: Person, room_id: str, *, typing: bool = True, timeout_ms: int | None = 20_000) -> None:
    """Say that the person types, or no longer."""
    body = {"typing": typing} | ({"timeout": timeout_ms} if typing and timeout_ms is not None else {})
    await person.put(f"rooms/{room_id}/typing/{person.user_id}", body)


def typing_in(answer: Any, room_id: str) -> list[list[str]]:
    """The lists of who types that an answer tells of a room."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {})
    events = room.get("ephemeral", {}).get("events", ())
    return [event["content"]["user_ids"] for event in events if event["type"] == "m.typing"]


async def two_in_a_room(hospital: Hospital) -> tuple[Person, Person, str]:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    return alice, bob, room_id


async def test_who_waits_is_told_who_types_and_who_ceases_to(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    since = (await sync(bob))["next_batch"]
    waiting = asyncio.create_task(sync(bob, since, timeout=20_000))
    await asyncio.sleep(0.1)
    await types(alice, room_id)
    answer = await asyncio.wait_for(waiting, 5)
    assert typing_in(answer, room_id) == [[alice.user_id]]
    await types(bob, room_id)
    answer = await sync(bob, answer["next_batch"])
    assert typing_in(answer, room_id) == [[alice.user_id, bob.user_id]]
    await types(alice, room_id, typing=False)
    assert typing_in(await sync(bob, answer["next_batch"]), room_id) == [[bob.user_id]]


async def test_typing_stands_in_a_first_sync_and_in_that_of_who_joins(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    carol = await hospital.person()
    assert typing_in(await sync(bob), room_id) == []
    await types(alice, room_id)
    assert typing_in(await sync(bob), room_id) == [[alice.user_id]]
    since = (await sync(carol))["next_batch"]
    await carol.join(room_id)
    assert typing_in(await sync(carol, since), room_id) == [[alice.user_id]]


async def test_typing_ends_by_itself(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    await types(alice, room_id, timeout_ms=1)  # less than the least
    answer = await sync(bob)
    assert typing_in(answer, room_id) == [[alice.user_id]]
    answer = await asyncio.wait_for(sync(bob, answer["next_batch"], timeout=20_000), 5)
    assert typing_in(answer, room_id) == [[]]
    assert typing_in(await sync(bob), room_id) == [[]]


async def test_a_repeat_prolongs_typing_and_wakes_nobody(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    await types(alice, room_id, timeout_ms=500)
    since = (await sync(bob))["next_batch"]
    await types(alice, room_id, timeout_ms=20_000)
    waited = await sync(bob, since, timeout=1_000)
    assert waited["next_batch"] == since
    assert typing_in(await sync(bob), room_id) == [[alice.user_id]]


async def test_ceasing_when_one_does_not_type_is_no_news(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    since = (await sync(bob))["next_batch"]
    await types(alice, room_id, typing=False)
    assert (await sync(bob, since))["next_batch"] == since


async def test_who_leaves_types_no_longer(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    await types(alice, room_id)
    since = (await sync(bob))["next_batch"]
    await alice.leave(room_id)
    told = []
    while not told:
        answer = await asyncio.wait_for(sync(bob, since, timeout=20_000), 5)
        told, since = typing_in(answer, room_id), answer["next_batch"]
    assert told == [[]]


async def test_only_members_type_and_only_for_themselves(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    carol = await hospital.person()
    body = {"typing": True, "timeout": 1_000}
    await carol.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/typing/{carol.user_id}", body)
    await carol.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/typing/{carol.user_id}", {"typing": False})
    await alice.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/typing/{bob.user_id}", body)
    await alice.refused(403, "M_FORBIDDEN", "PUT", f"rooms/!no:hospital.example/typing/{alice.user_id}", body)


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"typing": "yes"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": "soon"}, "M_BAD_JSON"),
        ({"typing": True, "timeout": 1.5}, "M_BAD_JSON"),
        ({"typing": True, "timeout": 0}, "M_INVALID_PARAM"),
        ({"typing": True, "timeout": -1}, "M_INVALID_PARAM"),
    ],
)
async def test_bad_requests_are_refused(hospital: Hospital, body: Any, errcode: str) -> None:
    alice = await hospital.person()
    room_id = await alice.create_room()
    await alice.refused(400, errcode, "PUT", f"rooms/{room_id}/typing/{alice.user_id}", body)


async def test_without_a_timeout_typing_lasts_a_while(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    await types(alice, room_id, timeout_ms=None)
    assert typing_in(await sync(bob), room_id) == [[alice.user_id]]


async def test_typing_can_be_filtered_out(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    wanted = json.dumps({"room": {"ephemeral": {"not_types": ["m.typ*"]}}})
    since = (await sync(bob, filter=wanted))["next_batch"]
    await types(alice, room_id)
    assert "rooms" not in await sync(bob, since, filter=wanted)
    assert typing_in(await sync(bob, filter=wanted), room_id) == []


async def test_of_ignored_users_nobody_is_told_that_they_type(hospital: Hospital) -> None:
    alice, bob, room_id = await two_in_a_room(hospital)
    ignored = {"ignored_users": {alice.user_id: {}}}
    await bob.put(f"user/{bob.user_id}/account_data/m.ignored_user_list", ignored)
    since = (await sync(bob))["next_batch"]
    await types(alice, room_id)
    await types(bob, room_id)
    assert typing_in(await sync(bob, since), room_id) == [[bob.user_id]]
    assert typing_in(await sync(bob), room_id) == [[bob.user_id]]
