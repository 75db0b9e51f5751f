"""Filters of a sync: which rooms, which events, and how far the timeline goes."""

from typing import Any

import pytest

from tests.services.rooms.conftest import ALICE, BOB, Rooms
from tests.services.sync.conftest import MakeDevice
from tests.services.sync.device import ids, keys
from tests.services.sync.steps import room_of


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    ("timeline", "expected"),
    [
        ({"types": ["m.room.message"]}, "image hello"),
        ({"types": ["m.room.mes*"]}, "image hello"),
        ({"not_types": ["m.*"]}, "other"),
        ({"senders": [BOB]}, "hello"),
        ({"senders": [BOB], "limit": 1}, "hello"),
        ({"not_senders": [ALICE]}, "hello"),
        ({"contains_url": True}, "image"),
        ({"contains_url": False, "types": ["m.room.message"]}, "hello"),
        ({"types": []}, ""),
    ],
)
async def test_the_timeline_holds_what_its_filter_allows(
    rooms: Rooms, device: MakeDevice, is_first: bool, timeline: dict[str, Any], expected: str
) -> None:
    room_id = await room_of(rooms, BOB)
    one = device(ALICE, filter={"room": {"timeline": timeline}})
    if not is_first:
        await one.next()
    sent = {
        "image": await rooms.send(room_id, ALICE, content={"url": "mxc://hospital.example/xray", "body": "xray"}),
        "other": await rooms.send(room_id, ALICE, "org.example.other", content={}),
        "hello": await rooms.send(room_id, BOB, content={"body": "hello"}),
    }
    told = (await one.next()).get("rooms", {}).get("join", {}).get(room_id, {"timeline": {"events": []}})
    assert [event_id for event_id in ids(told) if event_id in sent.values()] == [
        sent[name] for name in expected.split()
    ]


async def test_what_is_rare_is_found_behind_much_else(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    rare = await rooms.send(room_id, ALICE, "org.example.rare", content={})
    for _ in range(30):
        await rooms.send(room_id, ALICE)
    told = await device(ALICE, filter={"room": {"timeline": {"types": ["org.example.rare"]}}}).joined(room_id)
    assert ids(told) == [rare]
    assert told["timeline"]["limited"] is False


@pytest.mark.parametrize("is_first", [True, False])
async def test_rooms_and_not_rooms(rooms: Rooms, device: MakeDevice, is_first: bool) -> None:
    wanted, unwanted = await room_of(rooms), await room_of(rooms)
    listed = [
        device(ALICE, filter={"room": {"rooms": [wanted]}}),
        device(ALICE, device_id="OTHER", filter={"room": {"rooms": [wanted, unwanted], "not_rooms": [unwanted]}}),
    ]
    for one in listed:
        if not is_first:
            await one.next()
    await rooms.send(wanted, ALICE)
    await rooms.send(unwanted, ALICE)
    for one in listed:
        assert set((await one.next())["rooms"]["join"]) == {wanted}


async def test_a_timeline_may_be_wanted_of_some_rooms_only(rooms: Rooms, device: MakeDevice) -> None:
    quiet = await room_of(rooms)
    one = device(ALICE, filter={"room": {"timeline": {"not_rooms": [quiet]}}})
    told = await one.joined(quiet)
    assert ids(told) == []
    assert ("m.room.create", "") in {(event["type"], event["state_key"]) for event in told["state"]["events"]}
    await rooms.send(quiet, ALICE)
    assert "rooms" not in await one.next()
    topic = await rooms.send(quiet, ALICE, "m.room.topic", state_key="", content={"topic": "new"})
    assert ids(await one.joined(quiet), "state") == [topic]


async def test_the_state_holds_what_its_filter_allows(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    for _ in range(3):
        await rooms.send(room_id, ALICE)
    room = {"timeline": {"limit": 1}, "state": {"types": ["m.room.create"]}}
    told = await device(ALICE, filter={"room": room}).joined(room_id)
    assert [event["type"] for event in told["state"]["events"]] == ["m.room.create"]
    room["state"] = {"not_rooms": [room_id]}
    told = await device(ALICE, filter={"room": room}).joined(room_id)
    assert told["state"]["events"] == []


async def test_a_limit_has_a_maximum(rooms: Rooms, device: MakeDevice) -> None:
    room_id = await room_of(rooms)
    one = device(ALICE, filter={"room": {"timeline": {"limit": 100_000}}})
    maximum = one.sync.options.timeline_limit_max
    assert maximum < 1_000
    for _ in range(20):
        await rooms.send(room_id, ALICE)
    assert len(ids(await one.joined(room_id))) == 24


@pytest.mark.parametrize("sifted", [{}, {"types": ["m.*"]}])
async def test_a_limit_of_zero_gives_the_state_alone(rooms: Rooms, device: MakeDevice, sifted: dict[str, Any]) -> None:
    room_id = await room_of(rooms)
    one = device(ALICE, filter={"room": {"timeline": {"limit": 0, **sifted}}})
    told = await one.joined(room_id)
    assert ids(told) == []
    assert told["timeline"]["limited"] is True
    assert told["timeline"]["prev_batch"]
    assert ("m.room.create", "") in keys(told)
    topic = await rooms.send(room_id, ALICE, "m.room.topic", state_key="", content={"topic": "new"})
    await rooms.send(room_id, ALICE)
    told = await one.joined(room_id)
    assert (ids(told), ids(told, "state")) == ([], [topic])
    assert "rooms" not in await one.next()
