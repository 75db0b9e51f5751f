"""Administrators delete rooms: everybody leaves, nothing of the room stays, and it may be blocked. Each act is
audited."""

import asyncio
from typing import Any
from urllib.parse import quote

import pytest

from tests.admin_api.conftest import AuditRows
from tests.deleting import ADMIN, SYNAPSE, begin, completed, deleted, room_path
from tests.people import Hospital, Person

TEXT = {"msgtype": "m.text", "body": "?"}


@pytest.fixture
async def alice(administered: Hospital) -> Person:
    return await administered.person(displayname="Alice")


@pytest.fixture
async def bob(administered: Hospital) -> Person:
    return await administered.person()


async def told_to_leave(person: Person, room_id: str, since: str) -> Any:
    """What a person who syncs all the time is told of a room that they are made to leave; once only."""
    told: list[Any] = []
    while not told:
        answer = await person.get("sync", since=since, timeout=10_000)
        since = answer["next_batch"]
        told += [left[room_id] for left in [answer.get("rooms", {}).get("leave", {})] if room_id in left]
    assert room_id not in str(await person.get("sync", since=since))
    return told[0]


async def test_members_leave_and_see_that_they_did(admin: Person, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room(invite=[bob.user_id], name="Ward 3")
    await alice.say(room_id, "hello")
    before = (await alice.get("sync"))["next_batch"]
    waiting = asyncio.create_task(told_to_leave(alice, room_id, before))
    invited = (await bob.get("sync"))["next_batch"]
    deletion = await deleted(admin, room_id)
    assert set(deletion["left_users"]) == {alice.user_id, bob.user_id}
    assert (deletion["left_count"], deletion["room_id"]) == (2, room_id)
    assert (await waiting)["timeline"]["events"][-1]["content"] == {"membership": "leave"}
    assert room_id not in str(await alice.sync_now())
    late = (await bob.get("sync", since=invited))["rooms"]["leave"][room_id]
    assert [event["state_key"] for event in late["timeline"]["events"]] == [bob.user_id]
    again = (await bob.get("sync", since=invited, timeout=0))["next_batch"]
    assert room_id not in str(await bob.get("sync", since=again))


async def test_who_was_away_learns_later_that_they_have_left(admin: Person, alice: Person) -> None:
    room_id = await alice.create_room()
    since = (await alice.get("sync"))["next_batch"]
    await alice.say(room_id, "nobody saw this")
    await deleted(admin, room_id)
    answer = await alice.get("sync", since=since)
    (event,) = answer["rooms"]["leave"][room_id]["timeline"]["events"]
    assert (event["type"], event["content"], event["state_key"]) == (
        "m.room.member",
        {"membership": "leave"},
        alice.user_id,
    )
    assert "join" not in answer.get("rooms", {})
    everything = await alice.get("sync", filter='{"room":{"include_leave":true}}')
    assert room_id not in str(everything)


@pytest.mark.parametrize("path", ["messages?dir=b", "state", "members", "joined_members"])
async def test_nobody_reads_a_deleted_room(admin: Person, alice: Person, path: str) -> None:
    room_id = await alice.create_room()
    await alice.say(room_id, "a secret")
    await deleted(admin, room_id)
    status, answer = await alice.request("GET", f"rooms/{room_id}/{path}")
    assert status in (403, 404) or ("a secret" not in str(answer) and not answer.get("chunk")), answer
    await alice.refused(404, "M_NOT_FOUND", "PUT", f"rooms/{room_id}/send/m.room.message/t", TEXT)


async def test_names_go_at_once(admin: Person, alice: Person) -> None:
    room_id = await alice.create_room(visibility="public", room_alias_name="ward-seven")
    alias = f"#ward-seven:{alice.user_id.partition(':')[2]}"
    delete_id = await begin(admin, room_id)
    await alice.refused(404, "M_NOT_FOUND", "GET", f"directory/room/{quote(alias)}")
    assert room_id not in str(await alice.get("publicRooms"))
    assert (await completed(admin, delete_id))["aliases"] == [alias]
    await alice.create_room(room_alias_name="ward-seven")


async def test_a_room_is_made_empty_without_a_purge(
    admin: Person, alice: Person, bob: Person, audit_rows: AuditRows
) -> None:
    room_id = await alice.create_room()
    await bob.join(room_id)
    await deleted(admin, room_id, purge=False)
    assert await audit_rows.news() == [
        (admin.user_id, "room.delete", room_id),
        (admin.user_id, "room.shut_down", room_id),
    ]
    assert room_id not in (await bob.get("joined_rooms"))["joined_rooms"]
    await bob.join(room_id)
    assert await bob.say(room_id, "here again")


async def test_a_blocked_room_is_not_entered(admin: Person, alice: Person, bob: Person, audit_rows: AuditRows) -> None:
    room_id = await alice.create_room()
    await deleted(admin, room_id, block=True, purge=False)
    assert [action for _, action, _ in await audit_rows.news()] == ["room.block", "room.delete", "room.shut_down"]
    await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}", {})
    await bob.refused(403, "M_FORBIDDEN", "POST", f"knock/{room_id}", {})
    assert (await admin.get(room_path(room_id, "/block")))["blocked_by"] == admin.user_id
    await admin.expect(200, "DELETE", room_path(room_id, "/block"))
    await bob.join(room_id)


async def test_members_of_a_blocked_room_stay_and_bring_in_nobody(admin: Person, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room()
    await admin.put(room_path(room_id, "/block", api=f"{SYNAPSE}/v1"), {"block": True})
    await alice.say(room_id, "still here")
    await alice.refused(403, "M_FORBIDDEN", "POST", f"rooms/{room_id}/invite", {"user_id": bob.user_id})
    await bob.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}", {})
    block = await admin.get(room_path(room_id, "/block", api=f"{SYNAPSE}/v1"))
    assert block == {"block": True, "user_id": admin.user_id}
    await admin.put(room_path(room_id, "/block", api=f"{SYNAPSE}/v1"), {"block": False})
    await bob.join(room_id)


async def test_deletions_are_listed_and_audited(admin: Person, alice: Person, audit_rows: AuditRows) -> None:
    first, second = await alice.create_room(), await alice.create_room()
    ids = [(await deleted(admin, room_id))["delete_id"] for room_id in (first, second)]
    page = await admin.get(f"{ADMIN}/room_deletions", limit=1)
    assert [each["delete_id"] for each in page["deletions"]] == [ids[1]]
    page = await admin.get(f"{ADMIN}/room_deletions", limit=1, from_=page["next_batch"])
    assert [each["delete_id"] for each in page["deletions"]] == [ids[0]]
    (of_room,) = (await admin.get(f"{ADMIN}/room_deletions", room_id=first))["deletions"]
    assert (of_room["status"], of_room["requested_by"]) == ("complete", admin.user_id)
    acts = [(action, room_id) for _, action, room_id in await audit_rows.news()]
    assert acts == [(action, room_id) for room_id in (first, second) for action in ("room.delete", "room.purged")]


async def test_what_can_not_be_deleted_is_refused(admin: Person, alice: Person) -> None:
    await admin.refused(404, "M_NOT_FOUND", "DELETE", room_path("!nowhere:hospital.example"), {})
    await admin.refused(404, "M_NOT_FOUND", "GET", f"{ADMIN}/room_deletions/none")
    room_id = await alice.create_room()
    await alice.refused(403, "M_FORBIDDEN", "DELETE", room_path(room_id), {})
    delete_id = (await admin.expect(200, "DELETE", room_path(room_id)))["delete_id"]
    await admin.refused(400, "M_UNKNOWN", "DELETE", room_path(room_id))
    await completed(admin, delete_id)
    unknown = "!elsewhere:other.example"
    assert (await deleted(admin, unknown, block=True))["left_count"] == 0
    await alice.refused(403, "M_FORBIDDEN", "POST", f"join/{unknown}", {})


async def test_existing_tools_delete_rooms(admin: Person, alice: Person) -> None:
    room_id = await alice.create_room()
    path = room_path(room_id, api=f"{SYNAPSE}/v2")
    await admin.refused(400, "M_INVALID_PARAM", "DELETE", path, {"new_room_user_id": alice.user_id})
    await admin.refused(404, "M_NOT_FOUND", "GET", f"{path}/delete_status")
    answer = await admin.expect(200, "DELETE", path, {"block": True, "purge": True, "force_purge": True})
    await completed(admin, answer["delete_id"])
    shutdown = {
        "kicked_users": [alice.user_id],
        "failed_to_kick_users": [],
        "local_aliases": [],
        "new_room_id": None,
    }
    told = {"delete_id": answer["delete_id"], "status": "complete", "shutdown_room": shutdown}
    assert await admin.get(f"{path}/delete_status") == {"results": [told]}
    by_id = await admin.get(f"{SYNAPSE}/v2/rooms/delete_status/{answer['delete_id']}")
    assert by_id == {**told, "room_id": room_id}


async def test_a_busy_room_is_deleted_while_others_send(admin: Person, alice: Person, administered: Hospital) -> None:
    room_id = await alice.create_room()
    members = [await administered.person() for _ in range(5)]
    for member in members:
        await member.join(room_id)
    is_over = asyncio.Event()

    async def talk(member: Person) -> list[int]:
        seen = []
        while not is_over.is_set():
            path = f"rooms/{room_id}/send/m.room.message/{len(seen)}"
            seen.append((await member.request("PUT", path, {"msgtype": "m.text", "body": "on and on"}))[0])
        return seen

    talking = [asyncio.create_task(talk(member)) for member in members]
    await asyncio.sleep(0.3)
    deletion = await deleted(admin, room_id)
    is_over.set()
    for seen in await asyncio.gather(*talking):
        assert seen[0] == 200 and seen[-1] in (403, 404) and {*seen} <= {200, 403, 404}
    assert deletion["left_count"] == 6
