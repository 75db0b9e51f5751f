"""Any worker may serve any request: what one has acknowledged, each of them knows. Every request is a new connection,
so that the kernel hands it to any of the workers."""

from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import pytest

from tests.clients.server_process import SERVER_NAME, RunningServer
from tests.people import Hospital

pytestmark = pytest.mark.external

ROUNDS = 8


@pytest.fixture
async def hospital(running_server: RunningServer) -> AsyncIterator[Hospital]:
    """The server, through connections that serve one request each."""
    connector = aiohttp.TCPConnector(force_close=True)
    async with aiohttp.ClientSession(running_server.base_url, connector=connector) as session:
        yield Hospital(session=session)


async def test_a_message_is_seen_at_once_and_sent_only_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    await bob.join(room_id)
    since = (await bob.get("sync"))["next_batch"]
    for number in range(ROUNDS):
        event_id = await alice.send(room_id, txn_id=f"number-{number}")
        assert await alice.send(room_id, txn_id=f"number-{number}") == event_id
        assert (await bob.event(room_id, event_id))["event_id"] == event_id
        assert (await bob.history(room_id, limit=1))["chunk"][0]["event_id"] == event_id
        answer = await bob.get("sync", since=since, timeout=0)
        assert [event["event_id"] for event in answer["rooms"]["join"][room_id]["timeline"]["events"]] == [event_id]
        since = answer["next_batch"]


async def test_memberships_count_at_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    for _ in range(ROUNDS):
        await bob.join(room_id)
        assert (await bob.get("joined_rooms"))["joined_rooms"] == [room_id]
        await bob.send(room_id)
        await alice.post(f"rooms/{room_id}/ban", {"user_id": bob.user_id})
        await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{quote(room_id)}", {})
        await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/send/org.example.note/x", {})
        secret = await alice.send(room_id)
        await bob.refused(404, "M_NOT_FOUND", "GET", f"rooms/{room_id}/event/{secret}")
        assert secret not in [event["event_id"] for event in (await bob.history(room_id))["chunk"]]
        await alice.post(f"rooms/{room_id}/unban", {"user_id": bob.user_id})


async def test_state_and_power_count_at_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room(room_version="11")
    await bob.join(room_id)
    levels = await alice.state(room_id, "m.room.power_levels")
    for number in range(ROUNDS):
        powerful = levels["users"] | {bob.user_id: 50}
        await alice.set_state(room_id, "m.room.power_levels", levels | {"users": powerful})
        await bob.set_state(room_id, "m.room.topic", {"topic": str(number)})
        assert (await alice.state(room_id, "m.room.topic"))["topic"] == str(number)
        await alice.set_state(room_id, "m.room.power_levels", levels)
        await bob.refused(403, "M_FORBIDDEN", "PUT", f"rooms/{room_id}/state/m.room.topic/", {"topic": "Bob's"})


async def test_names_filters_and_account_data_are_read_back_at_once(hospital: Hospital) -> None:
    alice, bob = await hospital.person(), await hospital.person()
    room_id = await alice.create_room()
    alias = f"#{alice.user_id.partition(':')[0][1:]}:{SERVER_NAME}"
    for number in range(ROUNDS):
        await alice.put(f"profile/{alice.user_id}/displayname", {"displayname": f"Alice {number}"})
        assert (await bob.get(f"profile/{alice.user_id}"))["displayname"] == f"Alice {number}"
        await alice.put(f"user/{alice.user_id}/account_data/org.example.number", {"number": number})
        assert await alice.get(f"user/{alice.user_id}/account_data/org.example.number") == {"number": number}
        kept = await alice.post(f"user/{alice.user_id}/filter", {"room": {"timeline": {"limit": number + 1}}})
        assert room_id in (await alice.get("sync", filter=kept["filter_id"]))["rooms"]["join"]
        await alice.put(f"directory/room/{quote(alias)}", {"room_id": room_id})
        assert (await bob.get(f"directory/room/{quote(alias)}"))["room_id"] == room_id
        await alice.expect(200, "DELETE", f"directory/room/{quote(alias)}")
        await bob.refused(404, "M_NOT_FOUND", "GET", f"directory/room/{quote(alias)}")
