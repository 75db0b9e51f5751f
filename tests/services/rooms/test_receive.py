"""Receiving: forks made by another server, rejection, soft failure, resolved states."""

import asyncio

import pytest

from tests.services.rooms.conftest import ALICE, Rooms
from tests.services.rooms.forks import CAROL, DAN, MEMBER, PRACTICE, fork_of, room_with_carol
from tim_server.matrix.canonical_json import encode
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receive import EventsMissing, Incoming
from tim_server.storage.events import load_events, load_events_by_id
from tim_server.storage.new_events import NewEvent
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.rooms import load_room
from tim_server.storage.state import load_current_state, load_snapshots_at


async def state_of(rooms: Rooms, room_id: RoomId) -> dict[tuple[str, str], dict[str, object]]:
    """Contents of the room's resolved state, as the database has it."""
    head = await rooms.queues.heads.get(room_id)
    async with rooms.store.database.read() as tx:
        room = await load_room(tx, room_id)
        assert head is not None and room is not None
        nids = await load_current_state(tx, room.nid)
    assert nids == dict(head.state)
    events = await rooms.queues.parsed.load(nids.values(), head.version)
    return {key: events[nid].content for key, nid in nids.items()}


@pytest.mark.parametrize("version", ["2", "6", "10", "11", "12"])
async def test_an_event_of_another_server_extends_the_room(rooms: Rooms, version: str) -> None:
    room_id, fork = await room_with_carol(rooms, version)
    message = fork.make("m.room.message", {"body": "hello"})
    assert await rooms.queues.submit(room_id, Incoming(events=(message,))) == (message.event_id,)
    own = await rooms.send(room_id, ALICE)
    async with rooms.store.database.read() as tx:
        rows = await load_events_by_id(tx, rooms.store.codec, [own, message.event_id])
    assert rows[own].prev_nids == [rows[message.event_id].nid]
    assert (await state_of(rooms, room_id))[MEMBER, CAROL] == {"membership": "join"}


async def test_the_same_event_twice_is_stored_once(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    message = fork.make("m.room.message", {"body": "hello"})
    await rooms.queues.submit(room_id, Incoming(events=(message,)))
    assert await rooms.queues.submit(room_id, Incoming(events=(message,))) == ()


async def test_an_event_whose_prev_events_are_missing_changes_nothing(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    fork.make("m.room.message", {"body": "never arrives"})
    late = fork.make("m.room.message", {"body": "hello"})
    with pytest.raises(EventsMissing):
        await rooms.queues.submit(room_id, Incoming(events=(late,)))


async def test_an_event_that_its_auth_events_do_not_allow_is_rejected(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    topic = fork.make("m.room.topic", {"topic": "mine"}, state_key="")
    position = rooms.store.commit_log.position
    assert await rooms.queues.submit(room_id, Incoming(events=(topic,))) == ()
    assert not any(entry.resets for entry in rooms.store.commit_log.since(position) or ())
    async with rooms.store.database.read() as tx:
        row = (await load_events_by_id(tx, rooms.store.codec, [topic.event_id]))[topic.event_id]
    assert row.rejected and row.position is None
    assert ("m.room.topic", "") not in await state_of(rooms, room_id)


async def test_an_event_from_before_a_ban_is_soft_failed(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    await rooms.member(room_id, ALICE, "ban", CAROL)
    message = fork.make("m.room.message", {"body": "I never heard of a ban"})
    assert await rooms.queues.submit(room_id, Incoming(events=(message,))) == ()
    async with rooms.store.database.read() as tx:
        row = (await load_events_by_id(tx, rooms.store.codec, [message.event_id]))[message.event_id]
        room = await load_room(tx, room_id)
    assert row.soft_failed and row.position is None
    assert room is not None and row.event_id not in [event_id for _, event_id in room.forward_extremities]


@pytest.mark.parametrize("version", ["1", "2", "11", "12"])
async def test_a_fork_merges_and_both_sides_keep_their_state(rooms: Rooms, version: str) -> None:
    founder = {} if version == "12" else {str(ALICE): 100}
    room_id, fork = await room_with_carol(rooms, version, users={str(CAROL): 50} | founder)
    name = fork.make("m.room.name", {"name": "Ward 7"}, state_key="")
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "rounds"})
    await rooms.queues.submit(room_id, Incoming(events=(name,)))
    head = await rooms.queues.heads.get(room_id)
    assert head is not None and len(head.extremities) == 2
    state = await state_of(rooms, room_id)
    assert state["m.room.name", ""] == {"name": "Ward 7"}
    assert state["m.room.topic", ""] == {"topic": "rounds"}
    await rooms.send(room_id, ALICE)
    head = await rooms.queues.heads.get(room_id)
    assert head is not None and len(head.extremities) == 1


async def test_a_concurrent_ban_wins_over_what_the_banned_user_did(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    topic = fork.make("m.room.topic", {"topic": "Carol was here"}, state_key="")
    await rooms.member(room_id, ALICE, "ban", CAROL)
    await rooms.queues.submit(room_id, Incoming(events=(topic,)))
    state = await state_of(rooms, room_id)
    assert state[MEMBER, CAROL]["membership"] == "ban"
    assert ("m.room.topic", "") not in state


async def test_the_state_log_tells_what_was_resolved(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "rounds"})
    await rooms.queues.submit(room_id, Incoming(events=(fork.make("m.room.name", {"name": "x"}, state_key=""),)))
    position = rooms.store.commit_log.position
    async with rooms.store.database.read() as tx:
        room = await load_room(tx, room_id)
        assert room is not None
        snapshot = (await load_snapshots_at(tx, [(room.nid, position)]))[room.nid, position]
        assert snapshot == room.snapshot
        members = (await rooms.store.snapshots.load(tx, [snapshot]))[snapshot]
        current = await load_current_state(tx, room.nid)
        assert members == frozenset(current.values())
        assert len(await load_events(tx, rooms.store.codec, members)) == len(members)


async def test_a_long_fork_resolves_without_delaying_other_rooms(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    branch = tuple(
        fork.make("m.room.topic", {"topic": f"{i}"}, state_key="")
        if i % 2
        else fork.make("org.example.state", {"topic": f"{i}"}, state_key=f"{i % 50}")
        for i in range(300)
    )
    for i in range(100):
        await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": f"ours {i}"})
    other = await rooms.create()
    receiving = asyncio.create_task(rooms.queues.submit(room_id, Incoming(events=branch)))
    sent = 0
    while not receiving.done():
        await rooms.send(other, ALICE)
        sent += 1
    assert len(await receiving) == 300
    assert sent > 3
    assert isinstance((await state_of(rooms, room_id))["m.room.topic", ""]["topic"], str)


async def is_redacted(rooms: Rooms, event_id: EventId) -> bool:
    async with rooms.store.database.read() as tx:
        return (await load_events_by_id(tx, rooms.store.codec, [event_id]))[event_id].redacted_by is not None


@pytest.mark.parametrize("version", ["2", "10", "11"])
async def test_a_redaction_takes_effect_with_the_power_or_for_events_of_its_server(rooms: Rooms, version: str) -> None:
    room_id, fork = await room_with_carol(rooms, version, redact=50)
    of_alice = await rooms.send(room_id, ALICE)

    async def redact(target: str) -> None:
        redaction = fork.make("m.room.redaction", {}, redacts=target)
        await rooms.queues.submit(room_id, Incoming(events=(redaction,)))

    message = fork.make("m.room.message", {"body": "oops"})
    await rooms.queues.submit(room_id, Incoming(events=(message,)))
    await redact(message.event_id)
    await redact(of_alice)
    assert await is_redacted(rooms, message.event_id)
    assert not await is_redacted(rooms, of_alice)
    levels = {"users": {str(ALICE): 100, str(CAROL): 50}, "redact": 50}
    await rooms.send(room_id, ALICE, "m.room.power_levels", state_key="", content=levels)
    fork = await fork_of(rooms, room_id)
    await redact(of_alice)
    assert await is_redacted(rooms, of_alice)


@pytest.mark.parametrize("version", ["2", "10", "11", "12"])
@pytest.mark.parametrize("at_once", [False, True])
async def test_a_redaction_that_comes_before_its_target_takes_effect_when_that_comes(
    rooms: Rooms, version: str, at_once: bool
) -> None:
    room_id, fork = await room_with_carol(rooms, version, redact=50)
    prev, depth = fork.prev, fork.depth
    message = fork.make("m.room.message", {"body": "oops"})
    fork.prev, fork.depth = prev, depth
    redaction = fork.make("m.room.redaction", {}, redacts=message.event_id)
    if at_once:
        await rooms.queues.submit(room_id, Incoming(events=(redaction, message)))
    else:
        shown_at_once = (redaction.event_id,) if version == "2" else ()
        assert await rooms.queues.submit(room_id, Incoming(events=(redaction,))) == shown_at_once
        position = rooms.store.commit_log.position
        await rooms.queues.submit(room_id, Incoming(events=(message,)))
        (entry,) = rooms.store.commit_log.since(position) or ()
        (rows,) = entry.events.values()
        assert [row.event_id for row in rows] == [message.event_id, *([] if shown_at_once else [redaction.event_id])]
        assert rows[0].redacted_by is not None
        head = await rooms.queues.heads.get(room_id)
        assert head is not None and {e for _, e in head.extremities} == {redaction.event_id, message.event_id}
    assert await is_redacted(rooms, message.event_id)


@pytest.mark.parametrize(("power", "takes_effect"), [(0, False), (50, True)])
async def test_an_early_redaction_of_another_servers_event_needs_the_power(
    rooms: Rooms, power: int, takes_effect: bool
) -> None:
    users = {str(ALICE): 100, str(CAROL): power}
    room_id, fork = await room_with_carol(rooms, users=users, redact=50, events={"m.room.redaction": 0})
    prev, depth = fork.prev, fork.depth
    join = fork.make(MEMBER, {"membership": "join"}, state_key=DAN, sender=DAN, author=PRACTICE)
    await rooms.queues.submit(room_id, Incoming(events=(join,)))
    of_dan = fork.make("m.room.message", {"body": "oops"}, sender=DAN, author=PRACTICE)
    fork.prev, fork.depth = prev, depth
    redaction = fork.make("m.room.redaction", {}, redacts=of_dan.event_id)
    await rooms.queues.submit(room_id, Incoming(events=(redaction,)))
    await rooms.send(room_id, ALICE, "m.room.power_levels", state_key="", content={"users": {str(ALICE): 100}})
    shown = (of_dan.event_id, redaction.event_id) if takes_effect else (of_dan.event_id,)
    assert await rooms.queues.submit(room_id, Incoming(events=(of_dan,))) == shown
    assert await is_redacted(rooms, of_dan.event_id) is takes_effect


async def test_a_redaction_without_effect_is_not_shown_and_the_room_goes_on(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, redact=50)
    of_alice = await rooms.send(room_id, ALICE)
    redaction = fork.make("m.room.redaction", {}, redacts=of_alice)
    nothing = fork.make("m.room.redaction", {})
    after = fork.make("m.room.message", {"body": "hello"})
    assert await rooms.queues.submit(room_id, Incoming(events=(redaction, nothing, after))) == (after.event_id,)
    assert not await is_redacted(rooms, of_alice)
    head = await rooms.queues.heads.get(room_id)
    assert head is not None and after.event_id in [event_id for _, event_id in head.extremities]


async def test_a_soft_failed_redaction_does_not_wait_for_its_target(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    prev, depth = fork.prev, fork.depth
    message = fork.make("m.room.message", {"body": "before the ban"})
    fork.prev, fork.depth = prev, depth
    redaction = fork.make("m.room.redaction", {}, redacts=message.event_id)
    await rooms.member(room_id, ALICE, "ban", CAROL)
    assert await rooms.queues.submit(room_id, Incoming(events=(redaction,))) == ()
    await rooms.queues.submit(room_id, Incoming(events=(message,)))
    assert not await is_redacted(rooms, message.event_id)


async def test_events_of_another_room_are_missing_here(rooms: Rooms) -> None:
    room_id = await rooms.create()
    other_id, other = await room_with_carol(rooms)
    secret = await rooms.send(room_id, ALICE)
    other.prev = (secret,)
    with pytest.raises(EventsMissing):
        await rooms.queues.submit(other_id, Incoming(events=(other.make("m.room.message", {"body": "x"}),)))


async def test_prev_events_without_a_known_state_are_missing_and_auth_events_are_not(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    outlier = fork.make("m.room.message", {"body": "fetched for its own sake"})
    on_it = fork.make("m.room.message", {"body": "x"})
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    await rooms.store.writer.commit_room(outlier_commit(head, outlier, *await rooms.store.writer.take_nids(1)))
    rooms.queues.heads.forget(room_id)
    with pytest.raises(EventsMissing) as missing:
        await rooms.queues.submit(room_id, Incoming(events=(on_it,)))
    assert missing.value.event_ids == (outlier.event_id,)
    beside = await fork_of(rooms, room_id)
    beside.state[MEMBER, CAROL] = outlier
    cites = beside.make("m.room.message", {"body": "cites an outlier"})
    assert await rooms.queues.submit(room_id, Incoming(events=(cites,))) == ()  # judged, here rejected


def outlier_commit(head: RoomHead, event: Event, nid: int) -> RoomCommit:
    """Stores an event without a place in the timeline and without a state."""
    new = NewEvent(
        nid=nid,
        event_id=event.event_id,
        type=event.type,
        state_key=event.state_key,
        sender=event.sender,
        origin_server_ts=event.origin_server_ts,
        depth=event.depth,
        prev_nids=(),
        auth_nids=(),
        body=encode(event.pdu),
        snapshot=None,
        outlier=True,
    )
    return RoomCommit(
        room_nid=head.nid,
        room_id=head.room_id,
        room_version=head.version.identifier,
        expected_version=head.head_version,
        events=(new,),
        forward_extremities=tuple(nid for nid, _ in head.extremities),
        depth=head.depth,
        snapshot=head.snapshot,
    )


async def test_a_depth_at_the_limit_leaves_the_room_writable(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    fork.depth = 2**53 - 2
    deepest = fork.make("m.room.message", {"body": "deep"})
    assert await rooms.queues.submit(room_id, Incoming(events=(deepest,))) == (deepest.event_id,)
    assert await rooms.send(room_id, ALICE)


async def test_a_message_of_another_server_leaves_the_remembered_state_as_it_is(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    before = await rooms.queues.heads.get(room_id)
    await rooms.queues.submit(room_id, Incoming(events=(fork.make("m.room.message", {"body": "hello"}),)))
    after = await rooms.queues.heads.get(room_id)
    assert before is not None and after is not None
    assert after.state is before.state and after.snapshot == before.snapshot
