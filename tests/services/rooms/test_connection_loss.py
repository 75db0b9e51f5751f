"""Sends while the connections to PostgreSQL are cut again and again: acknowledged events are there, each once."""

import asyncio
import itertools
from collections import defaultdict
from collections.abc import AsyncIterator

import pytest

from tests.services.rooms.conftest import ALICE, Rooms, make_rooms
from tests.storage.cutting_proxy import CuttingProxy, Moment, cutting_proxy
from tim_server.matrix.errors import Unavailable
from tim_server.matrix.events.build import Author
from tim_server.matrix.identifiers import EventId, RoomId
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import CommitEntry
from tim_server.storage.database import DatabaseOptions
from tim_server.storage.store import open_store
from tim_server.storage.writer import WriterOptions

ROOMS, SENDERS, SENDS_EACH = 3, 4, 15


@pytest.fixture(scope="module")
async def proxy(tenant_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[CuttingProxy]:
    """What stands between PostgreSQL and every connection of the rooms."""
    async with cutting_proxy(tenant_dsn, tmp_path_factory.mktemp("proxy")) as proxy:
        yield proxy


@pytest.fixture
async def cut_rooms(proxy: CuttingProxy, author: Author) -> AsyncIterator[Rooms]:
    """Rooms whose store reaches PostgreSQL through the proxy, reads too."""
    options = WriterOptions(reconnect_s_max=0.3)
    store = await open_store(DatabaseOptions(dsn=proxy.dsn), Codec(), options)
    rooms = make_rooms(store, author)
    yield rooms
    proxy.cuts.clear()
    await rooms.queues.close()
    await store.close()


async def persist(rooms: Rooms, room_id: RoomId, txn_id: str) -> EventId:
    """Send as a client does that repeats its request until it is answered."""
    while True:
        try:
            return await rooms.send(room_id, ALICE, txn_id=txn_id)
        except Unavailable:
            await asyncio.sleep(0.05)


async def timeline(rooms: Rooms, room_id: RoomId) -> list[str]:
    """The messages of the room in their order."""
    async with rooms.store.database.connection() as tx:
        rows = await tx.fetch(
            "SELECT event_id FROM events WHERE type = 'm.room.message' AND room_nid = "
            "(SELECT nid FROM rooms WHERE room_id = $1) ORDER BY position, minor",
            room_id,
        )
    return [row["event_id"] for row in rows]


async def test_acknowledged_events_are_there_once_whatever_is_cut(cut_rooms: Rooms, proxy: CuttingProxy) -> None:
    told: dict[int, list[str]] = defaultdict(list)

    def listen(entry: CommitEntry) -> None:
        for rows in entry.events.values():
            for row in rows:
                told[row.room_nid].append(row.event_id)

    room_ids = [await cut_rooms.create() for _ in range(ROOMS)]
    cut_rooms.store.commit_log.subscribe(listen)
    for number, moment in enumerate(itertools.islice(itertools.cycle(Moment), 24)):
        statement = ("COMMIT", "COMMIT", "pg_advisory_xact_lock", "BEGIN")[number // 6]
        proxy.cut(statement, moment, skip=1, refusals=number % 4)
    places = [
        (room_id, f"{sender}.{n}") for n in range(SENDS_EACH) for sender in range(SENDERS) for room_id in room_ids
    ]
    acknowledged: dict[tuple[RoomId, str], EventId] = {}

    async def send_all(sender: int) -> None:
        for room_id, txn_id in places[sender::SENDERS]:
            acknowledged[room_id, txn_id] = await persist(cut_rooms, room_id, txn_id)

    async with asyncio.timeout(50):
        await asyncio.gather(*(send_all(sender) for sender in range(SENDERS)))
    assert proxy.made >= 12
    proxy.cuts.clear()
    again = {place: await persist(cut_rooms, *place) for place in places}
    assert again == acknowledged
    await cut_rooms.store.follower.catch_up()
    for room_id in room_ids:
        events = await timeline(cut_rooms, room_id)
        assert sorted(events) == sorted(event_id for place, event_id in acknowledged.items() if place[0] == room_id)
        assert events in told.values()
