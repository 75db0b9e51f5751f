"""The outbox: what each server is owed, in order, until it has it."""

import pytest

from tests.storage.commits import room_commit
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.commit_log import OwedEvent
from tim_server.storage.database import Connection
from tim_server.storage.outbox import (
    count_owed,
    delete_acknowledged,
    find_destinations_owed,
    find_too_long,
    insert_outbox,
    load_owed,
    shorten_outbox,
)
from tim_server.storage.room_commit_records import Owed
from tim_server.storage.store import Store

B, C, D = ServerName("b.example"), ServerName("c.example"), ServerName("d.example")


@pytest.fixture(autouse=True)
async def empty(store: Store) -> None:
    async with store.database.transaction() as tx:
        await tx.execute("DELETE FROM federation_outbox")


async def owed_to(tx: Connection, name: ServerName) -> list[int]:
    return [event.position for event in await load_owed(tx, name, after=0, limit=100)]


def events(*positions: int) -> tuple[OwedEvent, ...]:
    return tuple(OwedEvent(position, position) for position in positions)


async def test_a_commit_owes_its_events_and_tells_of_it(store: Store) -> None:
    commit = await room_commit(store, outbox=(Owed(event_index=0, destinations=(B, C)),))
    placed = await store.writer.commit_room(commit)
    expected = [OwedEvent(placed.last_position, commit.events[0].nid)]
    async with store.database.read() as tx:
        assert await load_owed(tx, B, after=0, limit=10) == await load_owed(tx, C, after=0, limit=10) == expected
        assert await load_owed(tx, B, after=placed.last_position, limit=10) == []
    (entry,) = store.commit_log.since(placed.last_position - 1) or []
    assert entry.owed == {(B, C): tuple(expected)}


async def test_servers_are_found_however_many_rows_each_has(store: Store) -> None:
    async with store.database.transaction() as tx:
        assert await find_destinations_owed(tx) == []
        await insert_outbox(tx, {(B, C): events(*range(1, 50)), (D,): events(50)})
        assert await find_destinations_owed(tx) == [B, C, D]
        assert await count_owed(tx) == 99


async def test_what_a_server_has_goes_and_what_others_have_not_stays(store: Store) -> None:
    async with store.database.transaction() as tx:
        await insert_outbox(tx, {(B, C, D): events(1, 2, 3)})
        await delete_acknowledged(tx, {B: 2, C: 3})
        assert [await owed_to(tx, name) for name in (B, C, D)] == [[3], [], [1, 2, 3]]


async def test_the_newest_event_of_each_room_stays_where_there_are_too_many(store: Store) -> None:
    first, second = [await room_commit(store) for _ in range(2)]
    others = [await room_commit(store, room_nid=first.room_nid) for _ in range(3)]
    nids = [first.events[0].nid, second.events[0].nid, *(each.events[0].nid for each in others)]
    async with store.database.transaction() as tx:
        for number, nid in enumerate(nids):
            room_nid = second.room_nid if number == 1 else first.room_nid
            await tx.execute(
                "INSERT INTO events (nid, room_nid, depth, origin_server_ts, event_id, type, sender, prev_nids,"
                " auth_nids, body) VALUES ($1, $2, 1, 1, $3, 'm', '@a:a', '{}', '{}', '')",
                nid,
                room_nid,
                f"$outbox{nid}",
            )
        owed = tuple(OwedEvent(position, nid) for position, nid in enumerate(nids, start=1))
        await insert_outbox(tx, {(B, C): owed, (D,): owed[:3]})
        assert await find_too_long(tx, [B, C, D], events_max=3) == [B, C]
        assert await shorten_outbox(tx, [B, C], up_to=4) == 6
        assert [await owed_to(tx, name) for name in (B, C, D)] == [[2, 5], [2, 5], [1, 2, 3]]
