"""Rooms that fork: events of another server, states that are resolved, and what users may see of them."""

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.rooms.forks import CAROL, fork_of, room_with_carol
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids, keys
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.events import load_events

POWER = {"users": {str(ALICE): 100, str(CAROL): 50}}


@pytest.mark.parametrize("state_after", [False, True])
async def test_an_event_of_another_server_is_told(rooms: Rooms, device: MakeDevice, state_after: bool) -> None:
    room_id, fork = await room_with_carol(rooms, **POWER)
    alice = device(ALICE, state_after=state_after)
    await alice.next()
    message = fork.make("m.room.message", {"body": "hello"})
    await rooms.queues.submit(room_id, Incoming(events=(message,)))
    assert ids(await alice.joined(room_id)) == [message.event_id]
    name = fork.make("m.room.name", {"name": "Clinic"}, state_key="")
    await rooms.queues.submit(room_id, Incoming(events=(name,)))
    told = await alice.joined(room_id)
    assert ids(told) == [name.event_id]
    assert ids(told, "state_after" if state_after else "state") == ([name.event_id] if state_after else [])


async def test_state_that_lost_is_in_the_timeline_but_not_in_the_state(rooms: Rooms, device: MakeDevice) -> None:
    room_id, fork = await room_with_carol(rooms, **POWER)
    alice = device(ALICE, state_after=True)
    await alice.next()
    # Alice, who is in power, changes it on her branch; Carol's event on the other one is from before that.
    first = fork.make("m.room.topic", {"topic": "first"}, state_key="")
    await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "Alice's"})
    await rooms.queues.submit(room_id, Incoming(events=(first,)))
    await alice.next()
    head = await rooms.queues.heads.get(room_id)
    assert head is not None
    async with rooms.store.database.read() as tx:
        rows = await load_events(tx, rooms.store.codec, head.state.values())
    resolved = {key: rows[nid].event_id for key, nid in head.state.items()}
    assert alice.rooms[room_id].state == resolved


async def test_a_ban_that_wins_takes_back_what_was_told(rooms: Rooms, device: MakeDevice) -> None:
    room_id, fork = await room_with_carol(rooms, **POWER)
    alice, new = device(ALICE, state_after=True), device(ALICE, state_after=True, device_id="NEW")
    await alice.next()
    topic = fork.make("m.room.topic", {"topic": "Carol was here"}, state_key="")
    await rooms.member(room_id, ALICE, "ban", CAROL)
    await rooms.queues.submit(room_id, Incoming(events=(topic,)))
    await alice.next()
    await new.next()
    assert ("m.room.topic", "") not in alice.rooms[room_id].state
    assert alice.rooms[room_id].state == new.rooms[room_id].state


async def test_an_event_from_before_the_join_is_hidden_though_it_comes_later(rooms: Rooms, device: MakeDevice) -> None:
    room_id, _ = await room_with_carol(rooms, **POWER)
    await rooms.send(
        room_id, ALICE, "m.room.history_visibility", state_key="", content={"history_visibility": "joined"}
    )
    fork = await fork_of(rooms, room_id)
    await rooms.member(room_id, BOB, "join")
    alice, bob = device(ALICE), device(BOB)
    await alice.next()
    await bob.next()
    message = fork.make("m.room.message", {"body": "among us"})
    await rooms.queues.submit(room_id, Incoming(events=(message,)))
    assert ids(await alice.joined(room_id)) == [message.event_id]
    assert message.event_id not in ids((await bob.next()).get("rooms", {}).get("join", {}).get(room_id, EMPTY))


async def test_members_of_another_server_are_counted(rooms: Rooms, device: MakeDevice) -> None:
    room_id, fork = await room_with_carol(rooms, **POWER)
    alice = device(ALICE)
    told = await alice.joined(room_id)
    assert told["summary"]["m.joined_member_count"] == 2
    left = fork.make("m.room.member", {"membership": "leave"}, state_key=CAROL)
    await rooms.queues.submit(room_id, Incoming(events=(left,)))
    told = await alice.joined(room_id)
    assert told["summary"] == {"m.heroes": [CAROL], "m.joined_member_count": 1, "m.invited_member_count": 0}
    assert ("m.room.member", CAROL) not in keys(told)


EMPTY = {"timeline": {"events": []}}
