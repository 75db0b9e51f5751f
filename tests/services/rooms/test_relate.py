"""Events that relate to others, sent and received: the thread that they belong to, and the table of relations.

Spec: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
"""

import asyncio
from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, Rooms, make_rooms
from tests.services.rooms.forks import CAROL, fork_of, room_with_carol
from tim_server.matrix.errors import DuplicateAnnotation, Unknown
from tim_server.matrix.events.build import Author
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.rooms.draft import RedactionTarget
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.events import load_events_by_id
from tim_server.storage.rebuild import derive_room, read_derived
from tim_server.storage.store import open_store

RELATIONS = "SELECT event_id, relates_to_id FROM relations ORDER BY position"
ROOM_NID = "SELECT nid FROM rooms WHERE room_id = $1"


def content(rel_type: str, parent: EventId, **more: Any) -> dict[str, Any]:
    return {"body": "x", "msgtype": "m.text", "m.relates_to": {"rel_type": rel_type, "event_id": parent, **more}}


async def threads_of(rooms: Rooms, *event_ids: EventId) -> list[EventId | None]:
    """The threads of these events."""
    async with rooms.store.database.read() as tx:
        rows = await load_events_by_id(tx, rooms.store.codec, event_ids)
    return [rows[event_id].thread_id for event_id in event_ids]


async def parents_of(rooms: Rooms, *event_ids: EventId) -> list[EventId | None]:
    """What the table says that these events relate to."""
    async with rooms.store.database.read() as tx:
        found = {row["event_id"]: row["relates_to_id"] for row in await tx.fetch(RELATIONS)}
    return [found.get(event_id) for event_id in event_ids]


async def redact(rooms: Rooms, room_id: RoomId, event_id: EventId) -> None:
    async with rooms.store.database.read() as tx:
        row = (await load_events_by_id(tx, rooms.store.codec, [event_id]))[event_id]
    target = RedactionTarget(nid=row.nid, sender=row.sender)
    fields: dict[str, Any] = {"content": {"redacts": event_id}, "redacts": event_id, "target": target}
    await rooms.send(room_id, ALICE, "m.room.redaction", **fields)


async def test_what_relates_to_an_event_of_a_thread_is_in_the_thread(rooms: Rooms) -> None:
    room_id = await rooms.create()
    root = await rooms.send(room_id, ALICE)
    threaded = await rooms.send(room_id, ALICE, content=content("m.thread", root))
    reaction = await rooms.send(room_id, ALICE, "m.reaction", content=content("m.annotation", threaded, key="👍"))
    of_root = await rooms.send(room_id, ALICE, "m.reaction", content=content("m.annotation", root, key="👍"))
    assert await threads_of(rooms, root, threaded, reaction, of_root) == [None, root, root, None]
    await redact(rooms, room_id, threaded)
    assert await threads_of(rooms, threaded) == [root]
    assert await parents_of(rooms, threaded, reaction, of_root) == [None, threaded, root]


async def test_received_events_are_in_threads_too(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    root = fork.make("m.room.message", {"body": "root"})
    threaded = fork.make("m.room.message", content("m.thread", root.event_id))
    edit = fork.make("m.room.message", content("m.replace", threaded.event_id) | {"m.new_content": {}})
    await rooms.queues.submit(room_id, Incoming(events=(root, threaded, edit)))
    late = fork.make("m.reaction", content("m.annotation", threaded.event_id, key="👍"))
    await rooms.queues.submit(room_id, Incoming(events=(late,)))
    ids = [event.event_id for event in (root, threaded, edit, late)]
    assert await threads_of(rooms, *ids) == [None, *[root.event_id] * 3]
    assert await parents_of(rooms, *ids) == [None, root.event_id, threaded.event_id, threaded.event_id]


async def test_what_is_soft_failed_relates_to_nothing(rooms: Rooms) -> None:
    room_id, _ = await room_with_carol(rooms)
    root = await rooms.send(room_id, ALICE)
    fork = await fork_of(rooms, room_id)
    await rooms.member(room_id, ALICE, "ban", CAROL)
    late = fork.make("m.room.message", content("m.thread", root))
    await rooms.queues.submit(room_id, Incoming(events=(late,)))
    assert await parents_of(rooms, late.event_id) == [None]


async def test_what_is_redacted_before_it_comes_relates_to_nothing(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, "11")
    root = await rooms.send(room_id, ALICE)
    child = fork.make("m.room.message", content("m.thread", root))
    elsewhere = await fork_of(rooms, room_id)
    redaction = elsewhere.make("m.room.redaction", {"redacts": child.event_id}, redacts=child.event_id)
    await rooms.queues.submit(room_id, Incoming(events=(redaction,)))
    await rooms.queues.submit(room_id, Incoming(events=(child,)))
    assert await parents_of(rooms, child.event_id) == [None]


async def test_the_same_annotations_at_the_same_time(rooms: Rooms) -> None:
    room_id = await rooms.create()
    parent = await rooms.send(room_id, ALICE)
    annotation = content("m.annotation", parent, key="👍")
    sent = [rooms.send(room_id, ALICE, "m.reaction", content=annotation) for _ in range(5)]
    results = await asyncio.gather(*sent, return_exceptions=True)
    assert sum(isinstance(result, str) for result in results) == 1
    assert sum(isinstance(result, DuplicateAnnotation) for result in results) == 4


async def test_the_same_annotation_in_two_processes(rooms: Rooms, author: Author, tenant_dsn: str) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    others = make_rooms(other, author)
    room_id = await rooms.create()
    parents = [await rooms.send(room_id, ALICE) for _ in range(10)]
    sent = (
        where.send(room_id, ALICE, "m.reaction", content=content("m.annotation", parent, key="👍"))
        for parent in parents
        for where in (rooms, others)
    )
    results = await asyncio.gather(*sent, return_exceptions=True)
    await others.queues.close()
    await other.close()
    assert sum(isinstance(result, str) for result in results) == 10
    assert sum(isinstance(result, DuplicateAnnotation) for result in results) == 10


async def test_a_thread_does_not_start_within_a_thread(rooms: Rooms) -> None:
    room_id = await rooms.create()
    root = await rooms.send(room_id, ALICE)
    threaded = await rooms.send(room_id, ALICE, content=content("m.thread", root))
    with pytest.raises(Unknown):
        await rooms.send(room_id, ALICE, content=content("m.thread", threaded))
    await rooms.send(room_id, ALICE, content=content("m.thread", EventId("$not-known-here")))


@pytest.mark.parametrize("version", ["1", "6", "12"])
async def test_relations_are_derived_from_the_events(rooms: Rooms, version: str) -> None:
    room_id, fork = await room_with_carol(rooms, version)
    root = await rooms.send(room_id, ALICE)
    await rooms.send(room_id, ALICE, content=content("m.thread", root))
    await rooms.send(room_id, ALICE, "m.reaction", content=content("m.annotation", root, key="👍"))
    await redact(rooms, room_id, await rooms.send(room_id, ALICE, content=content("m.thread", root)))
    await rooms.queues.submit(room_id, Incoming(events=(fork.make("m.room.message", content("m.reference", root)),)))
    async with rooms.store.database.transaction() as tx:
        nid = await tx.fetchval(ROOM_NID, room_id)
        derived, found = await derive_room(tx, rooms.store.codec, nid), await read_derived(tx, nid)
    assert derived == found
    assert len(found.relations) == 3
