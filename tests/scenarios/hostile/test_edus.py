"""Short-lived data that servers may not send, or far too much of it: it is dropped, and nothing is kept.

Spec: https://spec.matrix.org/v1.19/server-server-api/#edus
"""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.people import Person
from tests.scenarios.hostile.conftest import PEER
from tests.shared_rooms import SharedRoom
from tests.signed_keys import DeviceIdentity
from tests.table_dump import Tables

EVE = "@eve:peer.example"
BOOKS = {"received_transactions", "clock", "commits", "federation_destinations"}
"""Tables that tell what came and went, whatever it was."""


def edu(edu_type: str, **content: Any) -> dict[str, Any]:
    return {"edu_type": edu_type, "content": content}


FORGED_EDUS: dict[str, Callable[[str, str, str], dict[str, Any]]] = {
    "typing": lambda user, room_id, event_id: edu("m.typing", room_id=room_id, user_id=user, typing=True),
    "receipt": lambda user, room_id, event_id: {
        "edu_type": "m.receipt",
        "content": {room_id: {"m.read": {user: {"event_ids": [event_id], "data": {"ts": 1}}}}},
    },
    "presence": lambda user, room_id, event_id: edu("m.presence", push=[{"user_id": user, "presence": "online"}]),
    "device list": lambda user, room_id, event_id: edu(
        "m.device_list_update", user_id=user, device_id="D", stream_id=1, prev_id=[], keys={"user_id": user}
    ),
    "cross-signing keys": lambda user, room_id, event_id: edu(
        "m.signing_key_update", user_id=user, master_key={"user_id": user, "usage": ["master"], "keys": {}}
    ),
    "message to devices": lambda user, room_id, event_id: edu(
        "m.direct_to_device", sender=user, type="m.room_key", message_id="1", messages={user: {"*": {"key": "forged"}}}
    ),
    "message that is repeated": lambda user, room_id, event_id: edu(
        "m.direct_to_device", sender=user, type="m.room_key", message_id="1", messages=[user]
    ),
}


@pytest.mark.parametrize("what", FORGED_EDUS)
async def test_what_a_peer_says_of_users_of_others_is_dropped(
    honest: tuple[Person, Person, str], room: SharedRoom, tables: Tables, what: str
) -> None:
    """Of the hospital's own users, those of a third one, and own ones whom it does not have in the room."""
    alice, bob, _ = honest
    event_id = await room.alice.say(room.room_id, "hello")
    await DeviceIdentity(room.alice).publish()
    users = [room.alice.user_id, alice.user_id, bob.user_id, "@nobody:a.example", "peer.example", "@:", 7, None]
    since = (await room.alice.sync_now())["next_batch"]
    edus = [FORGED_EDUS[what](user, room.room_id, event_id) for user in users]  # type: ignore[arg-type]
    before = await tables.dump()
    await room.push(edus=edus)
    new = {table for table, _ in await tables.dump() - before}
    assert new <= BOOKS, new
    assert set(await room.alice.get("sync", since=since, timeout=0)) <= {"next_batch", "device_one_time_keys_count"} | {
        "device_unused_fallback_key_types"
    }


async def test_of_a_message_to_many_only_what_is_not_as_it_should_be_is_dropped(room: SharedRoom) -> None:
    """Users and devices that can't be, contents that are none or too large."""
    name, alice = room.alice.user_id, await room.alice.get("account/whoami")
    messages = {
        "nobody": {"*": {}},
        "@\0:a.example": {"*": {}},
        "@eve:": {"*": {}},
        "@dave:a.example": ["*"],
        name: {alice["device_id"]: {"key": "good"}, "\0": {}, "OTHER": "none", "LARGE": {"a": "x" * 70_000}},
    }
    said = {"sender": room.user_id, "type": "m.x", "message_id": "mixed"}
    await room.push(edus=[edu("m.direct_to_device", messages=messages, **said)])
    told = (await room.alice.sync_now())["to_device"]["events"]
    assert [(event["sender"], event["content"]) for event in told] == [(room.user_id, {"key": "good"})]


async def test_messages_to_a_hundred_thousand_users_and_devices_fill_nothing(room: SharedRoom, tables: Tables) -> None:
    floods: list[dict[str, Any]] = [
        {f"@user{number}:a.example": {"*": {}} for number in range(4_000)},
        {room.alice.user_id: {f"DEVICE{number}": {} for number in range(4_000)}},
        {room.alice.user_id: {f"DEVICE{number}": {} for number in range(100_000)}},
        {f"@user{number}:b.example": {"*": {}} for number in range(100_000)},
    ]
    said = {"sender": room.user_id, "type": "m.x"}
    before = await tables.dump()
    await room.push(
        edus=[
            edu("m.direct_to_device", message_id=f"{number}", messages=messages, **said)
            for number, messages in enumerate(floods)
        ]
    )
    new = {table for table, _ in await tables.dump() - before}
    assert new <= {*BOOKS, "to_device_transactions"}
    assert "to_device" not in await room.alice.sync_now()


async def test_thousands_of_receipts_presences_and_keys_in_one_transaction_are_bounded(
    room: SharedRoom, tables: Tables
) -> None:
    event_id = await room.alice.say(room.room_id, "hello")
    eves = [f"@eve{number}:{PEER}" for number in range(20_000)]
    mark = {"event_ids": [event_id], "data": {"ts": 1}}
    threads = {"event_ids": [event_id], "data": {"ts": 1, "thread_id": "$none"}}
    edus = [
        {"edu_type": "m.receipt", "content": {room.room_id: {"m.read": dict.fromkeys(eves, mark)}}},
        {
            "edu_type": "m.receipt",
            "content": {f"!{number}:{PEER}": {"m.read": {EVE: threads}} for number in range(999)},
        },
        edu("m.presence", push=[{"user_id": eve, "presence": "online"} for eve in eves]),
        *(edu("m.device_list_update", user_id=eve, device_id="D", stream_id=1) for eve in eves[:90]),
    ]
    before = await tables.dump()
    async with asyncio.timeout(60):
        await room.push(edus=edus)
    assert {table for table, _ in await tables.dump() - before} <= BOOKS
