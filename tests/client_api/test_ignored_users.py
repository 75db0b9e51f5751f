"""Ignoring users: what `/sync` leaves out.

Spec: https://spec.matrix.org/v1.19/client-server-api/#ignoring-users
"""

import asyncio
import json
from typing import Any

import pytest

from tests.client_api.test_receipts import sync
from tests.people import Hospital, Person


async def ignore(person: Person, *others: Person) -> None:
    """Ignore exactly these."""
    content = {"ignored_users": {other.user_id: {} for other in others}}
    await person.put(f"user/{person.user_id}/account_data/m.ignored_user_list", content)


def bodies_in(answer: Any, room_id: str) -> list[str]:
    """The texts that an answer tells of a room."""
    room = answer.get("rooms", {}).get("join", {}).get(room_id, {"timeline": {"events": []}})
    return [event["content"]["body"] for event in room["timeline"]["events"] if "body" in event["content"]]


async def three_in_a_room(hospital: Hospital) -> tuple[Person, Person, Person, str]:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    await carol.join(room_id)
    return alice, bob, carol, room_id


async def test_messages_of_ignored_users_are_left_out_at_once(hospital: Hospital) -> None:
    alice, bob, carol, room_id = await three_in_a_room(hospital)
    since = (await sync(alice))["next_batch"]
    await bob.say(room_id, "from Bob")
    await carol.say(room_id, "from Carol")
    await ignore(alice, bob)
    assert bodies_in(await sync(alice), room_id) == ["from Carol"]
    answer = await sync(alice, since)
    assert bodies_in(answer, room_id) == ["from Carol"]
    waiting = asyncio.create_task(sync(alice, answer["next_batch"], timeout=20_000))
    await asyncio.sleep(0.1)
    await bob.say(room_id, "from Bob again")
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await carol.say(room_id, "from Carol again")
    assert bodies_in(await asyncio.wait_for(waiting, 5), room_id) == ["from Carol again"]


async def test_state_events_of_ignored_users_are_told(hospital: Hospital) -> None:
    alice, bob, _, room_id = await three_in_a_room(hospital)
    await alice.set_state(room_id, "m.room.power_levels", {"users": {bob.user_id: 50}})
    await ignore(alice, bob)
    since = (await sync(alice))["next_batch"]
    await bob.set_state(room_id, "m.room.name", {"name": "Ward 3"})
    (event,) = (await sync(alice, since))["rooms"]["join"][room_id]["timeline"]["events"]
    assert event["content"] == {"name": "Ward 3"}


async def test_what_was_missed_is_told_by_a_fresh_sync_only(hospital: Hospital) -> None:
    alice, bob, _, room_id = await three_in_a_room(hospital)
    await ignore(alice, bob)
    since = (await sync(alice))["next_batch"]
    await bob.say(room_id, "missed")
    since = (await sync(alice, since))["next_batch"]
    await ignore(alice)
    answer = await sync(alice, since)
    assert bodies_in(answer, room_id) == []
    await bob.say(room_id, "heard")
    assert bodies_in(await sync(alice, answer["next_batch"]), room_id) == ["heard"]
    assert bodies_in(await sync(alice), room_id) == ["missed", "heard"]


@pytest.mark.parametrize("since_before", [True, False])
async def test_invites_of_ignored_users_are_left_out(hospital: Hospital, since_before: bool) -> None:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    invites = [(person, await person.create_room(preset="private_chat")) for person in (bob, carol)]
    since = (await sync(alice))["next_batch"] if since_before else None
    await ignore(alice, bob)
    for person, room_id in invites:
        await person.post(f"rooms/{room_id}/invite", {"user_id": alice.user_id})
    assert (await sync(alice, since))["rooms"]["invite"].keys() == {invites[1][1]}


async def test_a_list_that_is_none_ignores_nobody(hospital: Hospital) -> None:
    alice, bob, _, room_id = await three_in_a_room(hospital)
    for content in ({}, {"ignored_users": [bob.user_id]}, {"ignored_users": None}):
        await alice.put(f"user/{alice.user_id}/account_data/m.ignored_user_list", content)
        since = (await sync(alice))["next_batch"]
        await bob.say(room_id, "hello")
        assert bodies_in(await sync(alice, since), room_id) == ["hello"]


async def test_nobody_ignores_themselves(hospital: Hospital) -> None:
    alice, _, _, room_id = await three_in_a_room(hospital)
    await ignore(alice, alice)
    since = (await sync(alice))["next_batch"]
    await alice.say(room_id, "hello")
    assert bodies_in(await sync(alice, since), room_id) == ["hello"]


async def test_a_direct_chat_is_marked_in_the_invite_and_kept_as_account_data(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(preset="trusted_private_chat", is_direct=True, invite=[bob.user_id])
    stripped = (await sync(bob))["rooms"]["invite"][room_id]["invite_state"]["events"]
    (member,) = [event for event in stripped if event.get("state_key") == bob.user_id]
    assert member["content"]["is_direct"] is True
    direct = {bob.user_id: [room_id]}
    await alice.put(f"user/{alice.user_id}/account_data/m.direct", direct)
    told = (await sync(alice, filter=json.dumps({"account_data": {"types": ["m.direct"]}})))["account_data"]["events"]
    assert told == [{"type": "m.direct", "content": direct}]
