"""`presence.yaml`, and presence in `/sync`."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.client_api.test_receipts import sync
from tests.people import Hospital, Person, run_hospital

LIMITS = {"enabled": True, "room_members_max": 3, "status_msg_length_max": 20}


@pytest.fixture(scope="module")
async def hospital(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    """A homeserver with presence, which rooms of up to three members spread."""
    folder = tmp_path_factory.mktemp("hospital")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tim_server.services.presence.track.SETTLE_INTERVAL_S", 0.02)
        async with run_hospital(tenant_dsn, folder, presence=LIMITS) as hospital:
            yield hospital


def presence_in(answer: Any) -> dict[str, Any]:
    """What an answer tells of each user."""
    events = answer.get("presence", {}).get("events", ())
    assert all(event["type"] == "m.presence" for event in events)
    return {event["sender"]: event["content"] for event in events}


async def told_of(reader: Person, user: Person, presence: str, since: str | None = None, **query: Any) -> Any:
    """What the reader is told of a user once it is this; syncs without being seen."""
    async with asyncio.timeout(10):
        while True:
            answer = await sync(reader, since, timeout=5_000, set_presence="offline", **query)
            since = answer["next_batch"]
            content = presence_in(answer).get(user.user_id)
            if content is not None and content["presence"] == presence:
                return content


async def present(person: Person, presence: str, status_msg: str | None = None) -> None:
    """Set the person's presence."""
    body = {"presence": presence} | ({} if status_msg is None else {"status_msg": status_msg})
    await person.put(f"presence/{person.user_id}/status", body)


async def hidden_sync(person: Person, since: str | None = None, **query: Any) -> Any:
    """A sync that says nothing of the person."""
    return await sync(person, since, set_presence="offline", **query)


async def together(hospital: Hospital, count: int = 2) -> list[Person]:
    """People in one room."""
    people = [await hospital.person() for _ in range(count)]
    room_id = await people[0].create_room()
    for person in people[1:]:
        await person.join(room_id)
    return people


async def test_presence_is_set_and_asked_for(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    path = f"presence/{alice.user_id}/status"
    assert await bob.get(path) == {"presence": "offline"}
    await present(alice, "online", "on call")
    for person in (alice, bob):
        told = await person.get(path)
        assert told.pop("last_active_ago") < 5_000
        assert told == {"presence": "online", "status_msg": "on call", "currently_active": True}
    await present(alice, "unavailable")
    told = await bob.get(path)
    assert told["presence"] == "unavailable"
    assert told.keys() == {"presence", "last_active_ago"}


async def test_who_waits_is_told(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    since = (await hidden_sync(bob))["next_batch"]
    waiting = asyncio.create_task(hidden_sync(bob, since, timeout=20_000))
    await asyncio.sleep(0.1)
    await present(alice, "online", "on call")
    content = presence_in(await asyncio.wait_for(waiting, 5))[alice.user_id]
    assert (content["presence"], content["status_msg"], content["currently_active"]) == ("online", "on call", True)
    assert content["last_active_ago"] < 5_000
    await present(alice, "offline")
    await told_of(bob, alice, "offline", since)


async def test_who_syncs_is_online_and_sees_it(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    since = (await hidden_sync(bob))["next_batch"]
    await sync(alice)
    await told_of(bob, alice, "online", since)
    assert presence_in(await sync(alice))[alice.user_id]["presence"] == "online"


async def test_set_presence_says_otherwise(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    since = (await hidden_sync(bob))["next_batch"]
    await hidden_sync(alice)
    await sync(alice, set_presence="unavailable")
    assert "status_msg" not in await told_of(bob, alice, "unavailable", since)
    await sync(alice, set_presence="online")
    await told_of(bob, alice, "online", since)
    await sync(alice, set_presence="unavailable")
    await told_of(bob, alice, "unavailable", since)


async def test_activity_ends_idleness(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    await sync(alice)
    await present(alice, "unavailable")
    since = (await hidden_sync(bob))["next_batch"]
    await sync(alice)  # is no activity
    assert (await bob.get(f"presence/{alice.user_id}/status"))["presence"] == "unavailable"
    await alice.create_room()
    await told_of(bob, alice, "online", since)


async def test_a_first_sync_tells_who_is_there(hospital: Hospital) -> None:
    alice, bob, carol = await together(hospital, 3)
    await present(alice, "online")
    await present(bob, "offline", "gone home")
    assert presence_in(await hidden_sync(carol)).keys() == {alice.user_id}


async def test_those_who_come_to_share_a_room_are_told_of_each_other(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await present(alice, "online")
    await present(bob, "unavailable")
    of_alice, of_bob = [(await hidden_sync(person))["next_batch"] for person in (alice, bob)]
    waiting = asyncio.create_task(told_of(alice, bob, "unavailable", of_alice))
    await asyncio.sleep(0.1)
    await bob.join(room_id)
    await asyncio.wait_for(waiting, 5)
    await told_of(bob, alice, "online", of_bob)


async def test_strangers_are_told_nothing(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    await present(alice, "online")
    since = (await hidden_sync(bob))["next_batch"]
    await bob.refused(403, "M_FORBIDDEN", "GET", f"presence/{alice.user_id}/status")
    await bob.refused(403, "M_FORBIDDEN", "GET", "presence/@nobody:hospital.example/status")
    await present(alice, "unavailable")
    assert alice.user_id not in presence_in(await hidden_sync(bob, since))
    assert alice.user_id not in presence_in(await hidden_sync(bob))


async def test_large_rooms_do_not_spread_presence_but_answer_who_asks(hospital: Hospital) -> None:
    alice, bob, *_ = await together(hospital, 4)
    since = (await hidden_sync(bob))["next_batch"]
    await present(alice, "online")
    assert alice.user_id not in presence_in(await hidden_sync(bob, since))
    assert alice.user_id not in presence_in(await hidden_sync(bob))
    assert (await bob.get(f"presence/{alice.user_id}/status"))["presence"] == "online"
    bob_since, newcomer = (await hidden_sync(bob, since))["next_batch"], await hospital.person()
    (room_id,) = (await bob.get("joined_rooms"))["joined_rooms"]
    await present(newcomer, "online")
    await newcomer.join(room_id)
    answer = await hidden_sync(bob, bob_since)
    assert room_id in answer["rooms"]["join"]
    assert presence_in(answer) == {}


@pytest.mark.parametrize("from_memory", [True, False])
async def test_who_comes_back_offline_is_told_of(hospital: Hospital, from_memory: bool) -> None:
    alice, bob = await together(hospital)
    (room_id,) = (await bob.get("joined_rooms"))["joined_rooms"]
    await present(bob, "online")
    since = (await hidden_sync(alice))["next_batch"]
    await bob.leave(room_id)
    await present(bob, "offline")
    since = (await hidden_sync(alice, since))["next_batch"]
    await bob.join(room_id)
    if not from_memory:
        await alice.put(f"user/{alice.user_id}/account_data/x", {})
    assert presence_in(await hidden_sync(alice, since))[bob.user_id]["presence"] == "offline"


async def test_who_has_left_is_told_nothing_more(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    (room_id,) = (await bob.get("joined_rooms"))["joined_rooms"]
    await bob.leave(room_id)
    since = (await hidden_sync(bob))["next_batch"]
    await present(alice, "online")
    assert presence_in(await hidden_sync(bob, since)) == {}
    await bob.refused(403, "M_FORBIDDEN", "GET", f"presence/{alice.user_id}/status")


async def test_of_ignored_users_nothing_is_told(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    ignored = {"ignored_users": {alice.user_id: {}}}
    await bob.put(f"user/{bob.user_id}/account_data/m.ignored_user_list", ignored)
    since = (await hidden_sync(bob))["next_batch"]
    await present(alice, "online")
    assert presence_in(await hidden_sync(bob, since)) == {}
    assert presence_in(await hidden_sync(bob)) == {}


@pytest.mark.parametrize(
    "wanted",
    [{"types": []}, {"not_types": ["m.presence"]}, {"senders": ["@x:hospital.example"]}, {"not_senders": ["{alice}"]}],
)
async def test_a_filter_leaves_presence_out(hospital: Hospital, wanted: dict[str, Any]) -> None:
    alice, bob = await together(hospital)
    filter_ = json.dumps({"presence": wanted}).replace("{alice}", alice.user_id)
    since = (await hidden_sync(bob, filter=filter_))["next_batch"]
    await present(alice, "online")
    assert presence_in(await hidden_sync(bob, since, filter=filter_)) == {}
    assert presence_in(await hidden_sync(bob, filter=filter_)) == {}


async def test_a_filter_limits_of_how_many_is_told(hospital: Hospital) -> None:
    alice, bob, carol = await together(hospital, 3)
    await present(alice, "online")
    await present(bob, "online")
    answer = await hidden_sync(carol, filter=json.dumps({"presence": {"limit": 1}}))
    assert list(presence_in(answer)) == [bob.user_id]


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({}, 400, "M_MISSING_PARAM"),
        ({"presence": "asleep"}, 400, "M_INVALID_PARAM"),
        ({"presence": 1}, 400, "M_INVALID_PARAM"),
        ({"presence": "online", "status_msg": 5}, 400, "M_BAD_JSON"),
        ({"presence": "online", "status_msg": "x" * 21}, 413, "M_TOO_LARGE"),
    ],
)
async def test_bad_requests_are_refused(hospital: Hospital, body: Any, status: int, errcode: str) -> None:
    alice = await hospital.person()
    await alice.refused(status, errcode, "PUT", f"presence/{alice.user_id}/status", body)
    assert await alice.get(f"presence/{alice.user_id}/status") == {"presence": "offline"}


async def test_users_set_their_own_presence_only(hospital: Hospital) -> None:
    alice, bob = await together(hospital)
    await bob.refused(403, "M_FORBIDDEN", "PUT", f"presence/{alice.user_id}/status", {"presence": "online"})


async def test_a_status_message_may_be_null(hospital: Hospital) -> None:
    alice = await hospital.person()
    await alice.put(f"presence/{alice.user_id}/status", {"presence": "online", "status_msg": None})
    assert "status_msg" not in await alice.get(f"presence/{alice.user_id}/status")
