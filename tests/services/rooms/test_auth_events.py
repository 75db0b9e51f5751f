"""Parsed events are remembered within a bound of bytes."""

import gc
import tracemalloc

from tests.services.rooms.conftest import ALICE, Rooms
from tim_server.matrix.canonical_json import decode_lenient, encode
from tim_server.matrix.events.read import read_stored_pdu
from tim_server.matrix.identifiers import EventId
from tim_server.matrix.room_versions import room_version
from tim_server.services.rooms.auth_events import ParsedEvents, parsed_bytes
from tim_server.storage.events import load_events_by_id


async def test_large_events_push_out_more_than_small_ones(rooms: Rooms) -> None:
    room_id = await rooms.create()
    version = room_version("11")
    large = await rooms.send(room_id, ALICE, "org.example.large", state_key="", content={"text": "x" * 30_000})
    small = [await rooms.send(room_id, ALICE, "org.example.small", state_key=f"{i}", content={}) for i in range(5)]
    async with rooms.store.database.read() as tx:
        rows = await load_events_by_id(tx, rooms.store.codec, [large, *small])
    parsed = ParsedEvents(rooms.store.database, rooms.store.codec, bytes_max=30_000)
    await parsed.load([rows[event_id].nid for event_id in small], version)
    assert len(parsed._events) == 5
    found = await parsed.load([rows[large].nid], version)
    assert found[rows[large].nid].event_id == large
    assert not parsed._events
    await parsed.load([rows[event_id].nid for event_id in small], version)
    await parsed.load([rows[event_id].nid for event_id in small], version)
    assert parsed._bytes == sum(parsed_bytes(rows[event_id].body) for event_id in small)


def test_the_weight_is_about_what_parsed_events_take() -> None:
    version = room_version("11")
    contents = {
        "text": {"text": "x" * 20_000},
        "levels": {"users": {f"@user{i}:hospital.example": 50 for i in range(1_000)}},
        "lists": {"lists": [[] for _ in range(15_000)]},
        "objects": {"objects": {str(i): {} for i in range(5_000)}},
        "numbers": {"numbers": list(range(1_000, 9_000))},
    }
    for name, content in contents.items():
        pdu = {"type": "m.room.member", "sender": str(ALICE), "content": content, "origin_server_ts": 1, "depth": 1}
        body = encode(pdu | {"room_id": "!a:hospital.example", "prev_events": [], "auth_events": []})
        gc.collect()
        tracemalloc.start()
        kept = [read_stored_pdu(decode_lenient(body), version, EventId("$a")) for _ in range(10)]
        taken = tracemalloc.get_traced_memory()[0] / len(kept)
        tracemalloc.stop()
        assert 0.5 < parsed_bytes(body) / taken < 2, name
