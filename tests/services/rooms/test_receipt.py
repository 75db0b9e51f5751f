"""What a room stands on after events have arrived: several at once, out of order, from its midst, or hidden."""

from dataclasses import replace
from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.rooms.forks import CAROL, DAN, MEMBER, PRACTICE, Fork, room_with_carol
from tests.services.rooms.test_receive import outlier_commit
from tim_server.matrix.events.build import NewPdu, build_event
from tim_server.matrix.events.record import Event
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.rooms.branches import StateNids
from tim_server.services.rooms.head import RoomHead
from tim_server.services.rooms.receive import EventsMissing, Incoming
from tim_server.services.rooms.resolve_state import StateResolver
from tim_server.storage.events import EventRow, load_events_by_id
from tim_server.storage.holes import find_newest_hole


async def head_of(rooms: Rooms, room_id: RoomId) -> RoomHead:
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    return head


async def extremities(rooms: Rooms, room_id: RoomId) -> list[EventId]:
    return [event_id for _, event_id in (await head_of(rooms, room_id)).extremities]


async def row_of(rooms: Rooms, event: Event) -> EventRow:
    async with rooms.store.database.read() as tx:
        return (await load_events_by_id(tx, rooms.store.codec, [event.event_id]))[event.event_id]


async def receive(rooms: Rooms, room_id: RoomId, *events: Event, **fields: object) -> tuple[EventId, ...]:
    return await rooms.queues.submit(room_id, Incoming(events=events, **fields))  # type: ignore[arg-type]


def at(fork: Fork, *events: Event) -> Fork:
    """The fork, continuing after these events."""
    fork.prev, fork.depth = tuple(event.event_id for event in events), max(event.depth for event in events)
    return fork


async def test_what_comes_at_once_may_rest_on_what_it_changes(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 100})
    joined = fork.make(MEMBER, {"membership": "join"}, state_key=DAN, sender=DAN, author=PRACTICE)
    said = fork.make("m.room.message", {"body": "I am new"}, sender=DAN, author=PRACTICE)
    levels = {"users": {str(ALICE): 100, str(CAROL): 100, str(DAN): 50}}
    power = fork.make("m.room.power_levels", levels, state_key="")
    topic = fork.make("m.room.topic", {"topic": "Dan's"}, state_key="", sender=DAN, author=PRACTICE)
    events = (joined, said, power, topic)
    assert await receive(rooms, room_id, *events) == tuple(event.event_id for event in events)


async def test_what_comes_at_once_with_a_ban_does_not_evade_it(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 100})
    joined = fork.make(MEMBER, {"membership": "join"}, state_key=DAN, sender=DAN, author=PRACTICE)
    banned = fork.make(MEMBER, {"membership": "ban"}, state_key=DAN)
    fork.state[MEMBER, str(DAN)] = joined
    evading = at(fork, joined).make("m.room.message", {"body": "what ban?"}, sender=DAN, author=PRACTICE)
    await receive(rooms, room_id, joined, banned, evading)
    assert (await row_of(rooms, evading)).soft_failed
    assert await extremities(rooms, room_id) == [banned.event_id]


@pytest.mark.parametrize("at_once", [True, False])
async def test_an_extremity_that_hides_behind_a_soft_failed_event_is_followed(rooms: Rooms, at_once: bool) -> None:
    room_id, fork = await room_with_carol(rooms)
    first = fork.make("m.room.message", {"body": "1"})
    hidden = [fork.make("m.room.message", {"body": f"hidden {number}"}) for number in range(3)]
    last = fork.make("m.room.message", {"body": "2"})
    kept_from_sight = {event.event_id for event in hidden}
    if at_once:
        await receive(rooms, room_id, first, *hidden, last, hidden=kept_from_sight)
    else:
        for event in (first, *hidden, last):
            await receive(rooms, room_id, event, hidden=kept_from_sight)
    assert await extremities(rooms, room_id) == [last.event_id]
    rows = [await row_of(rooms, event) for event in hidden]
    assert all(row.soft_failed and row.position is None for row in rows)


async def test_an_outlier_becomes_part_of_the_timeline_when_it_comes_again(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    topic = fork.make("m.room.topic", {"topic": "rounds"}, state_key="")
    head = await head_of(rooms, room_id)
    await rooms.store.writer.commit_room(outlier_commit(head, topic, *await rooms.store.writer.take_nids(1)))
    rooms.queues.heads.forget(room_id)
    nid = (await row_of(rooms, topic)).nid
    on_it = fork.make("m.room.message", {"body": "about the rounds"})
    assert await receive(rooms, room_id, topic, on_it) == (topic.event_id, on_it.event_id)
    row = await row_of(rooms, topic)
    assert (row.nid, row.prev_nids) == (nid, [nid for nid, _ in head.extremities])
    assert row.position is not None and row.snapshot is not None
    assert (await head_of(rooms, room_id)).state["m.room.topic", ""] == nid
    assert await receive(rooms, room_id, topic) == ()


async def test_an_outlier_that_was_rejected_stays_so_and_others_may_stand_on_it(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    topic = fork.make("m.room.topic", {"topic": "no power"}, state_key="")
    del fork.state["m.room.topic", ""]
    on_it = fork.make("m.room.message", {"body": "still fine"})
    assert await receive(rooms, room_id, topic, on_it) == (on_it.event_id,)
    assert (await row_of(rooms, topic)).rejected
    assert await extremities(rooms, room_id) == [on_it.event_id]
    assert ("m.room.topic", "") not in (await head_of(rooms, room_id)).state


async def test_after_a_gap_the_room_stands_on_what_comes_with_a_state(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    lost = [fork.make("m.room.message", {"body": f"{number}"}) for number in range(2)]
    after = fork.make("m.room.message", {"body": "and so we met"})
    with pytest.raises(EventsMissing):
        await receive(rooms, room_id, after)
    state: StateNids = dict((await head_of(rooms, room_id)).state)
    position = rooms.store.commit_log.position
    assert await receive(rooms, room_id, after, states={lost[1].event_id: state}) == (after.event_id,)
    row, head = await row_of(rooms, after), await head_of(rooms, room_id)
    async with rooms.store.database.read() as tx:
        hole = await find_newest_hole(tx, head.nid, after=(0, 0), until=(row.position or 0, 0), failures_max=1)
    assert hole is not None
    assert (hole.position, hole.missing, list(hole.citing)) == (row.position, (lost[1].event_id,), [row.nid])
    assert {nid for entry in rooms.store.commit_log.since(position) or () for nid in entry.resets} == {head.nid}
    assert head.state == state


async def test_a_state_that_another_server_tells_is_resolved_with_what_is_known(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    known = fork.make("m.room.topic", {"topic": "rounds"}, state_key="")
    await receive(rooms, room_id, known)
    lost = at(fork, known).make("m.room.message", {"body": "lost"})
    merging = at(fork, known, lost).make("m.room.message", {"body": "both"})
    told = {key: nid for key, nid in (await head_of(rooms, room_id)).state.items() if key[0] != "m.room.topic"}
    await receive(rooms, room_id, merging, states={lost.event_id: told})
    assert ("m.room.topic", "") in (await head_of(rooms, room_id)).state
    assert await extremities(rooms, room_id) == [merging.event_id]


async def test_a_hole_lies_before_the_next_event_that_is_shown(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    lost = fork.make("m.room.message", {"body": "lost"})
    hidden = fork.make("m.room.message", {"body": "hidden"})
    shown = fork.make("m.room.message", {"body": "shown"})
    state = dict((await head_of(rooms, room_id)).state)
    states, kept = {lost.event_id: state}, {hidden.event_id}
    assert await receive(rooms, room_id, hidden, shown, states=states, hidden=kept) == (shown.event_id,)
    position = (await row_of(rooms, shown)).position
    async with rooms.store.database.read() as tx:
        head = await head_of(rooms, room_id)
        hole = await find_newest_hole(tx, head.nid, after=(0, 0), until=(position or 0, 0), failures_max=1)
    assert hole is not None and (hole.position, hole.missing) == (position, (lost.event_id,))


async def test_an_event_from_a_hole_that_comes_late_is_shown_and_nothing_stands_on_it_anew(rooms: Rooms) -> None:
    room_id, fork = await room_with_carol(rooms)
    late = fork.make("m.room.message", {"body": "late"})
    after = fork.make("m.room.message", {"body": "after"})
    await receive(rooms, room_id, after, states={late.event_id: dict((await head_of(rooms, room_id)).state)})
    assert await receive(rooms, room_id, late) == (late.event_id,)
    assert await extremities(rooms, room_id) == [after.event_id]


async def test_an_event_that_is_authorised_by_another_room_is_rejected_and_others_may_stand_on_it(
    rooms: Rooms,
) -> None:
    _, other = await room_with_carol(rooms)
    room_id, fork = await room_with_carol(rooms)
    own = fork.state[MEMBER, CAROL]
    fork.state[MEMBER, CAROL] = other.state[MEMBER, CAROL]
    foreign = fork.make("m.room.message", {"body": "by what is somewhere else"})
    fork.state[MEMBER, CAROL] = own
    after = fork.make("m.room.message", {"body": "fine"})
    assert await receive(rooms, room_id, foreign, after) == (after.event_id,)
    row = await row_of(rooms, foreign)
    assert row.rejected and len(row.auth_nids) == len(foreign.auth_events) - 1


@pytest.mark.parametrize("version", ["1", "6", "11"])
async def test_a_room_is_created_once(rooms: Rooms, version: str) -> None:
    """Else the server that the room's id names could begin it anew, with itself as the only power."""
    room_id, _ = await room_with_carol(rooms, version)
    before = await head_of(rooms, room_id)
    assigned = {"event_id": EventId("$again:hospital.example")} if version == "1" else {}
    create, _ = build_event(
        NewPdu(
            room_id=room_id,
            type="m.room.create",
            state_key="",
            sender=ALICE,
            content={"creator": ALICE, "room_version": version},
            prev_events=(),
            auth_events=(),
            depth=1,
            origin_server_ts=1,
            **assigned,
        ),
        before.version,
        rooms.author,
    )
    assert await receive(rooms, room_id, create) == ()
    after = await head_of(rooms, room_id)
    assert (after.state, after.extremities) == (before.state, before.extremities)


async def test_many_joins_on_a_fork_are_allowed_without_resolving_each_time(
    rooms: Rooms, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id, fork = await room_with_carol(rooms)
    await rooms.member(room_id, BOB, "join")
    resolved = 0
    resolve = StateResolver.resolve

    async def counting(*args: Any) -> Any:
        nonlocal resolved
        resolved += 1
        return await resolve(*args)

    monkeypatch.setattr(StateResolver, "resolve", counting)
    people = [UserId(f"@nurse{number}:clinic.example") for number in range(30)]
    joins = [fork.make(MEMBER, {"membership": "join"}, state_key=person, sender=person) for person in people]
    assert len(await receive(rooms, room_id, *joins)) == 30
    assert resolved <= 3
    state = (await head_of(rooms, room_id)).state
    assert {(MEMBER, str(person)) for person in (*people, BOB)} <= state.keys()


async def test_events_that_lead_back_to_themselves_do_not_leave_a_room_without_any(rooms: Rooms) -> None:
    """In v1 and v2 servers choose the ids of their events."""
    room_id, fork = await room_with_carol(rooms, "2")
    before = await extremities(rooms, room_id)
    state: StateNids = dict((await head_of(rooms, room_id)).state)
    late = fork.make("m.room.message", {"body": "late"})
    fork.prev = (*before, late.event_id)
    after = fork.make("m.room.message", {"body": "after"})
    assert await receive(rooms, room_id, after, states={late.event_id: state}) == (after.event_id,)
    again = fork.make("m.room.message", {"body": "before what it comes after"})
    cyclic = replace(again, event_id=late.event_id, pdu={**again.pdu, "event_id": late.event_id})
    await receive(rooms, room_id, cyclic)
    assert await extremities(rooms, room_id)
    assert (await head_of(rooms, room_id)).state == state
    await rooms.send(room_id, ALICE)


@pytest.mark.parametrize("stands_on_all", [True, False])
async def test_an_event_may_bring_many_branches_together_whose_states_differ(rooms: Rooms, stands_on_all: bool) -> None:
    """Also where the room has gone on from them already."""
    room_id, fork = await room_with_carol(rooms, users={str(ALICE): 100, str(CAROL): 50})
    prev, depth, branches = fork.prev, fork.depth, []
    for number in range(20):
        fork.prev, fork.depth = prev, depth
        branches.append(fork.make(f"org.example.{number}", {"n": number}, state_key=""))
    await receive(rooms, room_id, *branches)
    if not stands_on_all:
        await rooms.send(room_id, ALICE)
    merging = at(fork, *branches).make("m.room.message", {"body": "all of you"})
    assert await receive(rooms, room_id, merging) == (merging.event_id,)
    assert {f"org.example.{number}" for number in range(20)} <= {
        key[0] for key in (await head_of(rooms, room_id)).state
    }
