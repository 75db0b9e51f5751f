"""Hospital a deletes a room that people of hospital b are in: b sees everybody of a leave, goes on, and does not bring
the room back where it is blocked."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.deleting import ADMIN, administrator, begin, completed, deleted
from tests.eventually import eventually
from tests.files import download, uploaded
from tests.hospitals import Network, run_networked
from tests.inviting import section
from tests.peer_in_room import queues_of, room_with_peer
from tests.people import Person
from tim_server.matrix.identifiers import RoomId

MEMBER = "m.room.member"


def dsn_of(hospital: Any) -> str:
    return str(hospital.process.homeservers[0].store.database.options.dsn)


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person(displayname="Alice")


@pytest.fixture
async def bob(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.b.person(displayname="Bob")


@pytest.fixture
async def admin(neighbourhood: Neighbourhood) -> Person:
    return await administrator(neighbourhood.a, dsn_of(neighbourhood.a))


async def has_left(person: Person, room_id: str, user_id: str) -> None:
    """Wait until somebody has left, as another person in the room sees it."""

    async def look() -> Any:
        return await person.state(room_id, MEMBER, user_id)

    await eventually(look, lambda content: content["membership"] == "leave")


async def test_the_other_server_sees_the_leaves_and_goes_on(
    admin: Person, alice: Person, bob: Person, neighbourhood: Neighbourhood
) -> None:
    room_id = await alice.create_room(name="Ward 3")
    await bob.join(room_id, "a.example")
    dora = await neighbourhood.a.person()
    await dora.join(room_id)
    deletion = await deleted(admin, room_id, block=True)
    assert {*deletion["left_users"]} == {alice.user_id, dora.user_id}
    await has_left(bob, room_id, alice.user_id)
    await has_left(bob, room_id, dora.user_id)
    await bob.say(room_id, "Where is everybody?")


async def test_a_blocked_room_is_not_brought_back(
    admin: Person, alice: Person, bob: Person, neighbourhood: Neighbourhood
) -> None:
    room_id = await alice.create_room()
    await bob.join(room_id, "a.example")
    await deleted(admin, room_id, block=True)
    await has_left(bob, room_id, alice.user_id)
    await alice.refused(403, "M_FORBIDDEN", "POST", f"join/{room_id}?via=b.example", {})
    status, _ = await bob.request("POST", f"rooms/{room_id}/invite", {"user_id": alice.user_id})
    assert status == 403
    assert room_id not in str(await alice.sync_now())


async def test_a_room_that_is_not_blocked_may_be_entered_anew(admin: Person, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room()
    await alice.say(room_id, "before")
    await bob.join(room_id, "a.example")
    await deleted(admin, room_id)
    await has_left(bob, room_id, alice.user_id)
    await bob.say(room_id, "after")
    await alice.join(room_id, "b.example")
    joined = (await alice.sync_now())["rooms"]["join"][room_id]
    assert joined["timeline"]["events"][-1]["state_key"] == alice.user_id
    await eventually(lambda: alice.bodies(room_id), lambda bodies: "after" in bodies)
    await alice.say(room_id, "here again")
    await eventually(lambda: bob.bodies(room_id), lambda bodies: "here again" in bodies)


async def test_an_invite_from_elsewhere_is_declined(admin: Person, alice: Person, bob: Person) -> None:
    room_id = await bob.create_room(preset="private_chat", invite=[alice.user_id])
    assert await section(alice, "invite", room_id) is not None
    assert (await deleted(admin, room_id))["left_users"] == [alice.user_id]
    assert await section(alice, "invite", room_id) is None
    await has_left(bob, room_id, alice.user_id)


async def test_copies_of_files_go_and_the_other_server_keeps_its_own(admin: Person, alice: Person, bob: Person) -> None:
    room_id = await alice.create_room()
    await bob.join(room_id, "a.example")
    file = await uploaded(bob, b"from the other hospital")
    await bob.send(room_id, {"msgtype": "m.file", "body": "a file", "url": f"mxc://{file}"})
    await eventually(lambda: alice.bodies(room_id), lambda bodies: "a file" in bodies)
    assert (await download(alice, file)).body == b"from the other hospital"
    assert (await deleted(admin, room_id))["files_deleted"] == 1
    assert (await download(bob, file)).status == 200
    assert (await download(alice, file)).status == 200  # fetched anew


async def test_processes_remember_nothing_of_the_room(
    admin: Person, alice: Person, bob: Person, neighbourhood: Neighbourhood
) -> None:
    room_id = RoomId(await alice.create_room(name="Ward 3"))
    await bob.join(room_id, "a.example")
    since = (await alice.get("sync"))["next_batch"]
    await bob.say(room_id, "hello")
    await alice.get("sync", since=since, timeout=10_000)
    store, queues = neighbourhood.a.process.homeservers[0].store, queues_of(neighbourhood.a)
    head = await queues.heads.get(room_id)
    assert head is not None
    assert any(head.nid in entry.events for entry in store.commit_log.since(0) or ())
    await deleted(admin, room_id)
    assert not any(head.nid in entry.events for entry in store.commit_log.since(0) or ())
    assert all(event.room_id != room_id for event, _ in queues.parsed._events.values())
    left = await queues.heads.get(room_id)
    assert left is not None and left.nid != head.nid and not left.state and not left.is_closed


async def test_events_of_a_deleted_room_are_not_taken(
    admin: Person, alice: Person, neighbourhood: Neighbourhood
) -> None:
    room = await room_with_peer(neighbourhood.a, neighbourhood.peer, alice)
    late = (await room.fork()).make("m.room.message", {"msgtype": "m.text", "body": "too late"})
    # The peer answers nothing, as if it were away: that is waited for, but here not for as long as usual.
    delete_id = await begin(admin, room.room_id)
    store = neighbourhood.a.process.homeservers[0].store

    async def is_telling() -> bool:
        found = await admin.get(f"{ADMIN}/room_deletions/{delete_id}")
        return bool(found["status"] in ("telling", "purging", "sifting", "complete"))

    await eventually(is_telling)
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE room_deletions SET told_until_ts = 0, due_ts = 0 WHERE finished_ts IS NULL")
    await completed(admin, delete_id)
    transaction = {"origin": "peer.example", "origin_server_ts": 1, "pdus": [late.pdu]}
    path = "/_matrix/federation/v1/send/late"
    status, answer = await neighbourhood.peer.ask("a.example", "PUT", path, transaction)
    assert status == 200, answer
    await asyncio.sleep(0.5)
    async with store.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM events WHERE event_id = $1", late.event_id) == 0
    assert room.room_id not in str(await alice.sync_now())


async def test_other_servers_are_waited_for(tmp_path: Path, make_tenant_dsn: Callable[[], Awaitable[str]]) -> None:
    network = Network.of(tmp_path, ["a.example", "b.example"])
    dsn, dsn_of_b = await make_tenant_dsn(), await make_tenant_dsn()
    async with run_networked(network, "a.example", dsn, tmp_path / "a") as a:
        admin, alice = await administrator(a, dsn), await a.person()
        async with run_networked(network, "b.example", dsn_of_b, tmp_path / "b") as b:
            bob = await b.person()
            room_id = await alice.create_room()
            await bob.join(room_id, "a.example")
        delete_id = await begin(admin, room_id)
        await asyncio.sleep(2)
        assert (await admin.get(f"{ADMIN}/room_deletions/{delete_id}"))["status"] == "telling"
        async with run_networked(network, "b.example", dsn_of_b, tmp_path / "b") as b:
            bob.session = b.session
            await admin.post(f"{ADMIN}/federation/destinations/b.example/retry")
            await completed(admin, delete_id)
            await has_left(bob, room_id, alice.user_id)
