"""The derived tables, made anew from the log, hold the same rows."""

import random

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.rooms.forks import CAROL, MEMBER, fork_of, room_with_carol
from tim_server.matrix.errors import MatrixError
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.rebuild import DerivedRoom, Rebuilt, derive_room, read_derived, rebuild_derived

ROOM_NID = "SELECT nid FROM rooms WHERE room_id = $1"


async def derived_and_found(rooms: Rooms, room_id: RoomId) -> tuple[DerivedRoom, DerivedRoom]:
    async with rooms.store.database.read() as tx:
        nid = await tx.fetchval(ROOM_NID, room_id)
        return await derive_room(tx, rooms.store.codec, nid), await read_derived(tx, nid)


async def busy_room(rooms: Rooms, version: str = "11") -> RoomId:
    """A room with forks, a ban, redactions, messages and memberships that come and go."""
    room_id, _ = await room_with_carol(rooms, version)
    await rooms.member(room_id, BOB, "join")
    await rooms.send(room_id, BOB)
    await rooms.member(room_id, BOB, "leave")
    await rooms.member(room_id, ALICE, "invite", BOB)
    late = await fork_of(rooms, room_id)
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "one"})
    await rooms.member(room_id, ALICE, "ban", CAROL)
    events = (
        late.make("m.room.message", {"body": "from the fork"}),
        late.make(MEMBER, {"membership": "join", "displayname": "Carol"}, state_key=CAROL),
    )
    await rooms.queues.submit(room_id, Incoming(events=events))
    parent = await rooms.send(room_id, ALICE)
    relates_to = {"rel_type": "m.thread", "event_id": parent}
    await rooms.send(room_id, ALICE, content={"body": "x", "msgtype": "m.text", "m.relates_to": relates_to})
    return room_id


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_rebuilding_a_busy_room_gives_the_same_rows(rooms: Rooms, version: str) -> None:
    derived, found = await derived_and_found(rooms, await busy_room(rooms, version))
    assert derived == found
    assert len(derived.memberships) == 3
    assert len(derived.membership_history) >= 6


async def test_damage_is_found_and_mended(rooms: Rooms) -> None:
    room_id = await busy_room(rooms)
    before = (await derived_and_found(rooms, room_id))[1]
    async with rooms.store.database.transaction() as tx:
        nid = await tx.fetchval(ROOM_NID, room_id)
        await tx.execute("DELETE FROM current_state WHERE room_nid = $1 AND type = 'm.room.topic'", nid)
        await tx.execute("UPDATE memberships SET membership = 'join' WHERE room_nid = $1 AND user_id = $2", nid, CAROL)
        await tx.execute("DELETE FROM membership_history WHERE room_nid = $1", nid)
        await tx.execute("INSERT INTO current_state VALUES (-1, 'm.room.topic', '', 1)")
        await tx.execute("UPDATE relations SET rel_type = 'm.reference' WHERE room_nid = $1", nid)
    async with rooms.store.database.transaction() as tx:
        first = await rebuild_derived(tx, rooms.store.codec)
    async with rooms.store.database.transaction() as tx:
        again = await rebuild_derived(tx, rooms.store.codec)
    assert first.mended == 1 + 2 + len(before.membership_history) + 1 + 2
    assert again == Rebuilt(rooms=first.rooms, rows=first.rows, mended=0)
    assert (await derived_and_found(rooms, room_id))[1] == before


async def test_the_server_goes_on_after_a_rebuild(rooms: Rooms) -> None:
    room_id = await busy_room(rooms)
    async with rooms.store.database.transaction() as tx:
        await rebuild_derived(tx, rooms.store.codec)
    await rooms.send(room_id, ALICE)


async def test_rebuilding_after_random_changes_of_membership_gives_the_same_rows(rooms: Rooms) -> None:
    choice = random.Random(7)
    users = [ALICE, BOB, *(UserId(f"@user{i}:hospital.example") for i in range(5))]
    for version in ("1", "6", "11", "12"):
        founder = {} if version == "12" else {str(ALICE): 100}
        room_id, fork = await room_with_carol(rooms, version, users={str(CAROL): 50} | founder)
        for number in range(40):
            try:
                await rooms.member(room_id, choice.choice(users[1:]), choice.choice(["join", "leave", "join"]))
                await rooms.member(room_id, ALICE, choice.choice(["ban", "leave", "invite"]), choice.choice(users[1:]))
            except MatrixError:
                continue
            if number % 9 == 0:
                event = fork.make(MEMBER, {"membership": "ban"}, state_key=str(choice.choice(users[1:])))
                await rooms.queues.submit(room_id, Incoming(events=(event,)))
        derived, found = await derived_and_found(rooms, room_id)
        assert derived == found
