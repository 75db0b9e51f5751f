"""Reading a room with many members lets other requests go on."""

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.services.rooms.conftest import ALICE, SERVER, Rooms
from tests.services.test_turns import stretches
from tim_server.matrix.identifiers import RoomId, UserId
from tim_server.services.accounts.requester import Requester
from tim_server.services.events import client_format
from tim_server.services.events.client_events import ClientEvents
from tim_server.services.events.visibility import EventVisibility
from tim_server.services.rooms import members as members_module
from tim_server.services.rooms.members import MembersQuery, RoomMembers
from tim_server.services.rooms.state import RoomState
from tim_server.services.turns import ITEMS_PER_TURN
from tim_server.storage.store import Store

MEMBERS = 2 * ITEMS_PER_TURN + 50
REQUESTER = Requester(user_id=ALICE, device_id="DEVICE", token_id=1)


async def large_room(rooms: Rooms) -> RoomId:
    room_id = await rooms.create()
    users = (UserId(f"@user{number}:{SERVER}") for number in range(MEMBERS))
    await asyncio.gather(*(rooms.member(room_id, user, "join") for user in users))
    return room_id


def make_client_events(store: Store) -> ClientEvents:
    visibility = EventVisibility(server_name=SERVER, codec=store.codec, snapshots=store.snapshots)
    return ClientEvents(codec=store.codec, visibility=visibility, now_ms=lambda: time.time_ns() // 1_000_000)


async def test_no_more_than_a_turn_of_events_is_written_without_a_pause(
    rooms: Rooms, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    room_id = await large_room(rooms)
    common: dict[str, Any] = {
        "database": store.database,
        "codec": store.codec,
        "client_events": make_client_events(store),
    }
    write_event = ClientEvents.event
    async with stretches() as counts:

        def event(*args: Any, **options: Any) -> bytes:
            counts[-1] += 1
            return write_event(*args, **options)

        def content_json(*args: Any) -> bytes:
            counts[-1] += 1
            return client_format.content_json(*args)

        monkeypatch.setattr(ClientEvents, "event", event)
        monkeypatch.setattr(members_module, "content_json", content_json)
        members = RoomMembers(**common)
        assert len(await members.events(REQUESTER, room_id, MembersQuery())) == MEMBERS + 1
        assert sum(counts) == MEMBERS + 1
        assert len(orjson.loads(await members.joined(REQUESTER, room_id))) == MEMBERS + 1
        state = await RoomState(snapshots=store.snapshots, **common).all_events(REQUESTER, room_id)
        assert sum(counts) == 2 * (MEMBERS + 1) + len(state)
    assert max(counts) == ITEMS_PER_TURN
