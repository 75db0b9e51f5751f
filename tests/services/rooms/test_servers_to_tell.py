"""Which servers are owed an event of this one: committed with it, and told to every process."""

import asyncio

from tests.services.rooms.conftest import ALICE, Rooms
from tests.services.rooms.forks import CAROL, CLINIC, DAN, MEMBER, PRACTICE, fork_of, room_with_carol
from tim_server.matrix.identifiers import EventId, RoomId, ServerName
from tim_server.services.rooms.draft import Draft, DraftGroup
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import read_entries
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.events import load_events_by_id
from tim_server.storage.store import Store, open_store

CLINIC_NAME, PRACTICE_NAME = CLINIC.server_name, PRACTICE.server_name


async def owed(rooms: Rooms, event_id: EventId) -> set[ServerName]:
    """The servers that are owed an event, as the outbox says."""
    async with rooms.store.database.connection() as connection:
        rows = await connection.fetch(
            "SELECT o.destination FROM federation_outbox AS o JOIN events AS e ON e.nid = o.event_nid"
            " WHERE e.event_id = $1",
            event_id,
        )
    return {ServerName(row["destination"]) for row in rows}


async def room_with_two(rooms: Rooms) -> RoomId:
    """A room that Carol and Dan have joined, each from a server of their own."""
    room_id, fork = await room_with_carol(rooms)
    join = fork.make(MEMBER, {"membership": "join"}, state_key=DAN, sender=DAN, author=PRACTICE)
    await rooms.queues.submit(room_id, Incoming(events=(join,)))
    return room_id


async def test_all_servers_in_the_room_are_owed_what_is_sent_here(rooms: Rooms) -> None:
    room_id = await room_with_two(rooms)
    assert await owed(rooms, await rooms.send(room_id, ALICE)) == {CLINIC_NAME, PRACTICE_NAME}


async def test_nobody_is_owed_what_other_servers_sent(rooms: Rooms) -> None:
    room_id = await room_with_two(rooms)
    message = (await fork_of(rooms, room_id)).make("m.room.message", {"body": "hello"})
    await rooms.queues.submit(room_id, Incoming(events=(message,)))
    assert await owed(rooms, message.event_id) == set()


async def test_a_server_learns_of_the_event_that_removes_its_last_member_and_of_nothing_after_it(rooms: Rooms) -> None:
    room_id = await room_with_two(rooms)
    ban = Draft(type=MEMBER, sender=ALICE, content={"membership": "ban"}, state_key=str(CAROL))
    after = Draft(type="m.room.message", sender=ALICE, content={"body": "now that they are gone"})
    banned, told = await rooms.queues.submit(room_id, DraftGroup(drafts=(ban, after)))
    assert await owed(rooms, banned) == {CLINIC_NAME, PRACTICE_NAME}
    assert await owed(rooms, told) == {PRACTICE_NAME}


async def test_a_server_learns_that_the_invite_of_its_user_is_taken_back(rooms: Rooms) -> None:
    room_id = await rooms.create()
    invited = await rooms.member(room_id, ALICE, "invite", CAROL)
    assert await owed(rooms, invited) == set()  # an invite goes to its server by itself
    assert await owed(rooms, await rooms.send(room_id, ALICE)) == set()
    assert await owed(rooms, await rooms.member(room_id, ALICE, "leave", CAROL)) == {CLINIC_NAME}
    assert await owed(rooms, await rooms.member(room_id, ALICE, "ban", CAROL)) == set()


async def test_every_process_learns_who_is_owed_what(rooms: Rooms, store: Store, tenant_dsn: str) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    room_id = await room_with_two(rooms)
    event_id = await rooms.send(room_id, ALICE)
    async with store.database.read() as tx:
        row = (await load_events_by_id(tx, store.codec, [event_id]))[event_id]
        read = await read_entries(tx, store.codec, 0, limit=10_000)
    expected = {(CLINIC_NAME, PRACTICE_NAME): ((row.position, row.nid),)}
    assert read.entries[-1].owed == expected
    async with asyncio.timeout(10):
        while other.commit_log.position < (row.position or 0):
            await asyncio.shield(other.commit_log.advanced())
    (entry,) = other.commit_log.since(read.entries[-1].previous) or []
    assert entry.owed == expected
    await other.close()
