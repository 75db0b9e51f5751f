"""The limits of the configuration reach what they limit."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest

from tests.people import CLIENT, Hospital, Person, run_hospital

LIMITS = {
    "header_bytes_max": 4_096,
    "bodies_bytes_max": 1_048_576,
    "body_timeout_s": 0.3,
    "sync_timeout_ms_max": 300,
    "timeline_events_max": 10,
    "messages_events_max": 12,
    "request_body_bytes_max": 65_536,
    "json_depth_max": 10,
    "filters_per_user_max": 2,
    "account_data_bytes_max": 1_024,
    "push_rules_bytes_max": 1_024,
    "tags_per_room_max": 1,
    "open_reports_per_user_max": 2,
    "typing_timeout_ms_max": 1_000,
    "invites_per_room_creation_max": 1,
    "directory_page_rooms_max": 2,
    "space_page_rooms_max": 3,
    "space_rooms_max": 10,
    "space_depth_max": 2,
    "keys_query_users_max": 100,
    "to_device_messages_per_device_max": 2,
    "key_backup_keys_max": 2,
    "cache_bytes_max": 1_048_576,
    "commits_remembered_max": 100,
}


@pytest.fixture(scope="module")
async def limited(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hospital]:
    """A homeserver with tight limits."""
    folder = tmp_path_factory.mktemp("limited")
    async with run_hospital(tenant_dsn, folder, process={"limits": LIMITS}) as hospital:
        yield hospital


@pytest.fixture
async def alice(limited: Hospital) -> Person:
    return await limited.person()


async def test_a_long_header_is_refused(alice: Person) -> None:
    async with alice.session.get(f"{CLIENT}/account/whoami", headers={"X-Long": "x" * 5_000}) as response:
        assert (response.status, (await response.json())["errcode"]) == (431, "M_TOO_LARGE")


async def test_a_body_that_would_take_too_much_memory_is_refused(alice: Person) -> None:
    await alice.refused(413, "M_TOO_LARGE", "POST", "createRoom", b'{"a":[' + b"[]," * 20_000 + b"0]}")


async def test_push_rules_that_are_too_large_are_refused(alice: Person) -> None:
    actions = [{"set_tweak": "sound", "value": "x" * 1_024}]
    await alice.refused(413, "M_TOO_LARGE", "PUT", "pushrules/global/room/!ward:x", {"actions": actions})
    await alice.put("pushrules/global/room/!ward:x", {"actions": ["notify"]})


async def test_a_body_that_does_not_come_is_given_up(alice: Person) -> None:
    async def drip() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(2)

    headers = {"Authorization": f"Bearer {alice.token}"}
    async with alice.session.post(f"{CLIENT}/createRoom", data=drip(), headers=headers) as response:
        assert response.status == 408


async def test_a_sync_waits_no_longer_than_the_limit(alice: Person) -> None:
    since = (await alice.get("sync"))["next_batch"]
    begin = time.monotonic()
    await alice.get("sync", since=since, timeout=20_000)
    assert 0.2 < time.monotonic() - begin < 5


async def test_pages_are_no_longer_than_the_limits(alice: Person) -> None:
    room_id = await alice.create_room()
    for _ in range(12):
        await alice.send(room_id)
    sync = await alice.get("sync", filter='{"room":{"timeline":{"limit":50}}}')
    assert len(sync["rooms"]["join"][room_id]["timeline"]["events"]) == 10
    assert len((await alice.history(room_id, limit=50))["chunk"]) == 12


async def test_bodies_have_a_size_and_a_depth(alice: Person) -> None:
    await alice.refused(413, "M_TOO_LARGE", "POST", "createRoom", {"topic": "x" * 70_000})
    deep = '{"a":' * 11 + "1" + "}" * 11
    await alice.refused(400, "M_BAD_JSON", "POST", "createRoom", deep)


async def test_users_store_so_much_and_no_more(alice: Person) -> None:
    mine = f"user/{alice.user_id}"
    await alice.refused(413, "M_TOO_LARGE", "PUT", f"{mine}/account_data/org.example", {"text": "x" * 1_100})
    definitions = [{"room": {"timeline": {"limit": limit}}} for limit in (1, 2, 3)]
    ids = [(await alice.post(f"{mine}/filter", definition))["filter_id"] for definition in definitions]
    await alice.refused(404, "M_NOT_FOUND", "GET", f"{mine}/filter/{ids[0]}")
    assert await alice.get(f"{mine}/filter/{ids[2]}") == definitions[2]


async def test_few_reports_of_a_user_wait_for_a_decision(alice: Person) -> None:
    for _ in range(2):
        await alice.post(f"users/{alice.user_id}/report", {"reason": "x"})
    await alice.refused(429, "M_LIMIT_EXCEEDED", "POST", f"users/{alice.user_id}/report", {"reason": "x"})


async def test_keys_of_so_many_users_are_told_at_once_and_no_more(alice: Person) -> None:
    users = {f"@user{number}:hospital.example": [] for number in range(101)}
    await alice.refused(413, "M_TOO_LARGE", "POST", "keys/query", {"device_keys": users})
    users.popitem()
    await alice.post("keys/query", {"device_keys": users})


async def test_a_device_that_does_not_sync_keeps_the_newest_messages(alice: Person) -> None:
    for number in range(4):
        messages = {alice.user_id: {alice.device_id: {"n": number}}}
        await alice.put(f"sendToDevice/m.test/{number}", {"messages": messages})
    events = (await alice.get("sync"))["to_device"]["events"]
    assert [event["content"]["n"] for event in events] == [2, 3]


async def test_nobody_pushes_out_the_messages_of_others(limited: Hospital, alice: Person) -> None:
    bob, mallory = await limited.person(), await limited.person()
    for sender, count in ((bob, 1), (mallory, 4)):
        for number in range(count):
            messages = {alice.user_id: {alice.device_id: {"n": number}}}
            await sender.put(f"sendToDevice/m.test/{number}", {"messages": messages})
    events = (await alice.get("sync"))["to_device"]["events"]
    assert [(event["sender"], event["content"]["n"]) for event in events] == [(bob.user_id, 0), (mallory.user_id, 3)]


async def test_a_backup_holds_so_many_keys_and_no_more(alice: Person) -> None:
    version = (await alice.post("room_keys/version", {"algorithm": "x", "auth_data": {}}))["version"]
    key = {"first_message_index": 0, "forwarded_count": 0, "is_verified": True, "session_data": {}}
    sessions = {"sessions": {str(number): key for number in range(3)}}
    path = "room_keys/keys/!a:b"
    await alice.refused(413, "M_TOO_LARGE", "PUT", path, sessions, version=version)
    sessions["sessions"].popitem()
    assert (await alice.expect(200, "PUT", path, sessions, version=version))["count"] == 2


async def test_few_are_invited_while_a_room_is_created(alice: Person) -> None:
    invited = ["@bob:hospital.example", "@carol:hospital.example"]
    status, _ = await alice.request("POST", "createRoom", {"invite": invited})
    assert status == 400


async def test_conversations_work_with_the_smallest_caches_too(limited: Hospital, alice: Person) -> None:
    bob = await limited.person()
    rooms = [await alice.create_room() for _ in range(3)]
    since = (await bob.get("sync"))["next_batch"]
    for room_id in rooms:
        await bob.join(room_id)
        for number in range(60):
            await alice.say(room_id, f"{number}")
    joined = (await bob.get("sync", since=since))["rooms"]["join"]
    for room_id in rooms:
        bodies = [event["content"].get("body") for event in joined[room_id]["timeline"]["events"]]
        assert bodies == [f"{number}" for number in range(50, 60)]
        assert (await bob.bodies(room_id, limit=12))[0] == "59"


async def test_pages_of_directories_are_no_longer_than_the_limits(alice: Person) -> None:
    for _ in range(3):
        await alice.create_room(visibility="public")
    assert len((await alice.get("publicRooms", limit=50))["chunk"]) == 2


async def test_so_much_of_a_space_is_looked_at_and_no_more(alice: Person) -> None:
    async def space(*children: str) -> str:
        room_id = await alice.create_room(creation_content={"type": "m.space"})
        for child in children:
            await alice.set_state(room_id, "m.space.child", {"via": ["hospital.example"]}, child)
        return room_id

    async def pages(room_id: str) -> list[int]:
        path, counts, token = f"/_matrix/client/v1/rooms/{room_id}/hierarchy", list[int](), None
        while not counts or token:
            page = await alice.get(path, limit=50, max_depth=50, from_=token)
            counts.append(len(page["rooms"]))
            token = page.get("next_batch")
        return counts

    deep = await space(await space(await space(await alice.create_room())))
    assert await pages(deep) == [3]
    wide = await space(*[await alice.create_room() for _ in range(12)])
    assert await pages(wide) == [3, 3, 3, 1]


async def test_a_room_gets_no_more_tags_than_the_limit(alice: Person) -> None:
    path = f"user/{alice.user_id}/rooms/{await alice.create_room()}/tags"
    await alice.put(f"{path}/u.one", {})
    await alice.refused(413, "M_TOO_LARGE", "PUT", f"{path}/u.two", {})


async def test_nobody_types_longer_than_the_limit(alice: Person) -> None:
    room_id = await alice.create_room()
    await alice.put(f"rooms/{room_id}/typing/{alice.user_id}", {"typing": True, "timeout": 60_000})
    for user_ids in ([alice.user_id], []):
        (event,) = (await alice.get("sync"))["rooms"]["join"][room_id]["ephemeral"]["events"]
        assert event["content"] == {"user_ids": user_ids}
        await asyncio.sleep(1.5)
