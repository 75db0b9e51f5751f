"""Who may see which stored event, also where it stands on a fork."""

from typing import Any

import pytest

from tests.services.events.rows import make_row
from tests.services.rooms.conftest import ALICE, BOB, SERVER, Rooms
from tests.services.rooms.forks import CAROL, Fork, fork_of, room_with_carol
from tim_server.matrix.identifiers import EventId, RoomId, UserId
from tim_server.services.events.visibility import EventVisibility, is_presentable, load_histories
from tim_server.services.rooms.receive import Incoming
from tim_server.storage.codec import Codec
from tim_server.storage.events import load_events_by_id
from tim_server.storage.store import Store

VISIBILITY = "m.room.history_visibility"
TEXT = {"msgtype": "m.text", "body": "Hello"}


async def room_of_alice_and_carol(rooms: Rooms, visibility: str) -> tuple[RoomId, Fork]:
    """A room with this history visibility, and a fork of Carol's that begins now."""
    room_id, _ = await room_with_carol(rooms)
    await rooms.send(room_id, ALICE, VISIBILITY, state_key="", content={"history_visibility": visibility})
    return room_id, await fork_of(rooms, room_id)


async def receive(rooms: Rooms, fork: Fork, event_type: str = "m.room.message", **fields: Any) -> EventId:
    """An event of Carol's server arrives."""
    event = fork.make(event_type, fields.pop("content", TEXT), **fields)
    await rooms.queues.submit(fork.room_id, Incoming(events=(event,)))
    return event.event_id


async def seen(rooms: Rooms, visibility: EventVisibility, user_id: UserId, *event_ids: EventId) -> list[bool]:
    """Whether the user may see each of the events."""
    async with rooms.store.database.read() as tx:
        rows = await load_events_by_id(tx, rooms.store.codec, event_ids)
        histories = await load_histories(tx, user_id, {row.room_nid for row in rows.values()})
        shown = await visibility.visible(tx, user_id, list(rows.values()), histories)
    ids = {row.event_id for row in shown}
    return [event_id in ids for event_id in event_ids]


@pytest.mark.parametrize(("setting", "may_see"), [("joined", False), ("shared", True)])
async def test_event_from_before_the_join_that_arrives_after_it(
    rooms: Rooms, visibility: EventVisibility, setting: str, may_see: bool
) -> None:
    room_id, fork = await room_of_alice_and_carol(rooms, setting)
    await rooms.member(room_id, BOB, "join")
    late = await receive(rooms, fork)
    own = await rooms.send(room_id, ALICE)
    assert await seen(rooms, visibility, BOB, late, own) == [may_see, True]


async def test_event_that_knows_of_the_join_is_seen(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id, _ = await room_of_alice_and_carol(rooms, "joined")
    await rooms.member(room_id, BOB, "join")
    event_id = await receive(rooms, await fork_of(rooms, room_id))
    assert await seen(rooms, visibility, BOB, event_id) == [True]


async def test_event_on_a_fork_from_before_leaving_is_seen(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id, _ = await room_of_alice_and_carol(rooms, "joined")
    await rooms.member(room_id, BOB, "join")
    fork = await fork_of(rooms, room_id)
    await rooms.member(room_id, BOB, "leave")
    with_bob = await receive(rooms, fork)
    without_bob = await receive(rooms, await fork_of(rooms, room_id))
    assert await seen(rooms, visibility, BOB, with_bob, without_bob) == [True, False]


async def test_visibility_on_a_fork_is_that_of_the_fork(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id, fork = await room_of_alice_and_carol(rooms, "world_readable")
    await rooms.send(room_id, ALICE, VISIBILITY, state_key="", content={"history_visibility": "joined"})
    open_still = await receive(rooms, fork)
    closed = await receive(rooms, await fork_of(rooms, room_id))
    assert await seen(rooms, visibility, BOB, open_still, closed) == [True, False]


async def test_change_of_visibility_is_seen_by_who_may_see_either_side(
    rooms: Rooms, visibility: EventVisibility
) -> None:
    room_id = await rooms.create()

    async def change(setting: str) -> EventId:
        return await rooms.send(room_id, ALICE, VISIBILITY, state_key="", content={"history_visibility": setting})

    closing = await change("joined")
    hidden = await rooms.send(room_id, ALICE)
    opening = await change("world_readable")
    closing_again = await change("joined")
    assert await seen(rooms, visibility, BOB, closing, hidden, opening, closing_again) == [False, False, True, True]


async def test_own_membership_is_seen_on_either_side(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id = await rooms.create()
    await rooms.send(room_id, ALICE, VISIBILITY, state_key="", content={"history_visibility": "joined"})
    join = await rooms.member(room_id, BOB, "join")
    leave = await rooms.member(room_id, ALICE, "leave", BOB)
    ban = await rooms.member(room_id, ALICE, "ban", BOB)
    assert await seen(rooms, visibility, BOB, join, leave, ban) == [True, True, False]


async def test_rooms_without_the_event_are_shared(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id = await rooms.create()
    event_id = await rooms.send(room_id, ALICE)
    assert await seen(rooms, visibility, BOB, event_id) == [False]
    await rooms.member(room_id, BOB, "join")
    assert await seen(rooms, visibility, BOB, event_id) == [True]


async def test_visibility_of_a_snapshot_is_looked_up_once(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id = await rooms.create()
    event_id = await rooms.send(room_id, ALICE)
    for _ in range(2):
        assert await seen(rooms, visibility, BOB, event_id) == [False]
    assert len(visibility._remembered) == 1
    visibility.clear()
    assert await seen(rooms, visibility, BOB, event_id) == [False]


async def test_of_all_changes_of_visibility_only_the_one_in_place_is_read(rooms: Rooms, store: Store) -> None:
    read: list[bytes] = []

    class ReadingCodec(Codec):
        def decode(self, stored: bytes) -> bytes:
            read.append(stored)
            return super().decode(stored)

    visibility = EventVisibility(server_name=SERVER, codec=ReadingCodec(), snapshots=store.snapshots)
    room_id = await rooms.create()
    for number in range(5):
        setting = "joined" if number % 2 else "world_readable"
        await rooms.send(room_id, ALICE, VISIBILITY, state_key="", content={"history_visibility": setting})
    event_id = await rooms.send(room_id, ALICE)
    assert await seen(rooms, visibility, BOB, event_id) == [True]
    assert len(read) == 1


async def test_soft_failed_event_is_shown_to_nobody(rooms: Rooms, visibility: EventVisibility) -> None:
    room_id, fork = await room_of_alice_and_carol(rooms, "world_readable")
    await rooms.member(room_id, ALICE, "ban", CAROL)
    event_id = await receive(rooms, fork)
    assert await seen(rooms, visibility, ALICE, event_id) == [False]


def test_only_accepted_events_of_the_timeline_are_presentable() -> None:
    assert is_presentable(make_row())
    assert not is_presentable(make_row(position=None))
    assert not is_presentable(make_row(soft_failed=True))
    assert not is_presentable(make_row(rejected="no"))
