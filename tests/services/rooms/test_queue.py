"""The queue of a room: order, group commit, refusals, transaction ids, two processes."""

import asyncio
import itertools

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms, make_rooms
from tim_server.matrix.errors import Forbidden, NotFound
from tim_server.matrix.events.build import Author
from tim_server.matrix.identifiers import RoomId
from tim_server.storage.codec import Codec
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.events import load_events_by_id
from tim_server.storage.memberships import load_room_of_user
from tim_server.storage.rooms import load_room
from tim_server.storage.state import load_current_state, load_snapshots
from tim_server.storage.store import Store, open_store


@pytest.mark.parametrize("version", [str(number) for number in range(1, 13)])
async def test_a_room_of_every_version_takes_messages(rooms: Rooms, version: str) -> None:
    room_id = await rooms.create(version)
    await rooms.member(room_id, BOB, "join")
    event_id = await rooms.send(room_id, BOB)
    async with rooms.store.database.read() as tx:
        rows = await load_events_by_id(tx, rooms.store.codec, [event_id])
        room = await load_room(tx, room_id)
    assert rows[event_id].sender == BOB
    assert room is not None and room.forward_extremities == ((rows[event_id].nid, event_id),)


async def test_concurrent_sends_make_one_chain(rooms: Rooms) -> None:
    room_id = await rooms.create()
    event_ids = await asyncio.gather(*(rooms.send(room_id, ALICE) for _ in range(200)))
    async with rooms.store.database.read() as tx:
        rows = list((await load_events_by_id(tx, rooms.store.codec, event_ids)).values())
    rows.sort(key=lambda row: row.position or 0)
    assert [row.event_id for row in rows] == list(event_ids)
    assert all(late.prev_nids == [early.nid] for early, late in itertools.pairwise(rows))
    assert len({row.position for row in rows}) == 200


async def test_the_state_before_an_event_is_its_snapshot(rooms: Rooms) -> None:
    room_id = await rooms.create()
    for number in range(120):  # more than the depth of deltas
        await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": f"topic {number}"})
    event_id = await rooms.send(room_id, ALICE)
    async with rooms.store.database.read() as tx:
        row = (await load_events_by_id(tx, rooms.store.codec, [event_id]))[event_id]
        current = await load_current_state(tx, row.room_nid)
        assert row.snapshot is not None
        before = (await load_snapshots(tx, [row.snapshot]))[row.snapshot]
    assert before == frozenset(current.values())


async def test_who_is_not_joined_can_not_send(rooms: Rooms) -> None:
    room_id = await rooms.create()
    with pytest.raises(Forbidden):
        await rooms.send(room_id, BOB)


async def test_an_unknown_room_is_not_found(rooms: Rooms) -> None:
    with pytest.raises(NotFound):
        await rooms.send(RoomId("!nowhere:hospital.example"), ALICE)


async def test_a_refused_draft_fails_alone_among_many(rooms: Rooms) -> None:
    room_id = await rooms.create()
    outcomes = await asyncio.gather(
        *(rooms.send(room_id, BOB if i == 5 else ALICE) for i in range(20)), return_exceptions=True
    )
    assert [i for i, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)] == [5]


async def test_a_transaction_id_makes_one_event(rooms: Rooms) -> None:
    room_id = await rooms.create()
    first = await rooms.send(room_id, ALICE, txn_id="one")
    assert await rooms.send(room_id, ALICE, txn_id="one") == first
    assert await rooms.send(room_id, ALICE, txn_id="two") != first


async def test_a_transaction_id_used_at_the_same_moment_makes_one_event(rooms: Rooms) -> None:
    room_id = await rooms.create()
    event_ids = await asyncio.gather(*(rooms.send(room_id, ALICE, txn_id="same") for _ in range(10)))
    assert len(set(event_ids)) == 1


async def test_a_transaction_id_is_answered_though_the_first_who_used_it_is_gone(rooms: Rooms) -> None:
    room_id = await rooms.create()
    sending = [asyncio.create_task(rooms.send(room_id, ALICE, txn_id="repeated")) for _ in range(5)]
    await asyncio.sleep(0)
    sending[0].cancel()
    async with asyncio.timeout(5):
        event_ids = await asyncio.gather(*sending[1:])
    assert set(event_ids) == {await rooms.send(room_id, ALICE, txn_id="repeated")}


async def test_a_transaction_id_is_answered_though_its_sender_may_send_no_more(rooms: Rooms) -> None:
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    sent = await rooms.send(room_id, BOB, txn_id="one")
    await rooms.member(room_id, ALICE, "ban", BOB)
    assert await rooms.send(room_id, BOB, txn_id="one") == sent
    again, new, other = await asyncio.gather(
        rooms.send(room_id, BOB, txn_id="one"),
        rooms.send(room_id, BOB, txn_id="two"),
        rooms.send(room_id, ALICE),
        return_exceptions=True,
    )
    assert again == sent and isinstance(new, Forbidden) and isinstance(other, str)


async def test_memberships_follow_the_state(rooms: Rooms) -> None:
    room_id = await rooms.create()
    for membership in ("join", "leave", "join"):
        await rooms.member(room_id, BOB, membership)
        async with rooms.store.database.read() as tx:
            found = await load_room_of_user(tx, room_id, BOB)
        assert found is not None and found.membership == membership


async def test_rooms_made_in_the_same_millisecond_are_different(rooms: Rooms) -> None:
    rooms.queues.now_ms = lambda: 1_700_000_000_000
    made = await asyncio.gather(*(rooms.create("12") for _ in range(10)))
    rooms.queues._created_ms = 0  # as in another process, which has not made these rooms
    made.append(await rooms.create("12"))
    assert len(set(made)) == 11


async def test_two_processes_write_one_room(rooms: Rooms, store: Store, author: Author, tenant_dsn: str) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    others = make_rooms(other, author)
    room_id = await rooms.create()
    await rooms.member(room_id, BOB, "join")
    sent = await asyncio.gather(
        *(where.send(room_id, who, txn_id=f"{i}") for i in range(40) for where, who in ((rooms, ALICE), (others, BOB)))
    )
    again = await asyncio.gather(
        *(where.send(room_id, who, txn_id=f"{i}") for i in range(40) for where, who in ((others, ALICE), (rooms, BOB)))
    )
    async with store.database.read() as tx:
        room = await load_room(tx, room_id)
        rows = await load_events_by_id(tx, store.codec, sent)
    await others.queues.close()
    await other.close()
    assert sent == again
    assert len(set(sent)) == len(rows) == 80
    assert room is not None and len(room.forward_extremities) == 1


async def test_a_refusal_by_an_old_head_is_checked_against_the_new_one(
    rooms: Rooms, author: Author, tenant_dsn: str
) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    others = make_rooms(other, author)
    room_id = await rooms.create()
    await others.send(room_id, ALICE)
    old = others.queues.heads.remembered(room_id)
    assert old is not None
    await rooms.member(room_id, BOB, "join")
    await other.follower.catch_up()
    others.queues.heads.put(old)
    assert await others.send(room_id, BOB)
    await others.queues.close()
    await other.close()


async def test_a_head_follows_the_messages_of_another_process_and_is_dropped_with_its_state(
    rooms: Rooms, author: Author, tenant_dsn: str
) -> None:
    other = await open_store(DatabaseOptions(dsn=tenant_dsn), Codec())
    others = make_rooms(other, author)
    room_id = await rooms.create()
    await others.send(room_id, ALICE)
    before = others.queues.heads.remembered(room_id)
    await asyncio.gather(*(rooms.send(room_id, ALICE) for _ in range(20)))
    await other.follower.catch_up()
    followed = others.queues.heads.remembered(room_id)
    await others.send(room_id, ALICE)
    written = others.queues.heads.remembered(room_id)
    others.queues.heads.clear()
    loaded = await others.queues.heads.get(room_id)
    await rooms.member(room_id, BOB, "join")
    await other.follower.catch_up()
    assert others.queues.heads.remembered(room_id) is None
    await others.queues.close()
    await other.close()
    assert before is not None and followed is not None and written is not None
    assert followed.state is before.state and written.state is before.state
    assert written == loaded
