"""What is told beside events: receipts, typing, presence, messages to devices."""

from typing import Any
from urllib.parse import quote

import pytest

from tests.eventually import eventually
from tests.people import Hospital, Person
from tests.synapse.test_rooms import shared_room, sides  # noqa: F401

pytestmark = pytest.mark.external

Sides = tuple[Hospital, Hospital]


async def ephemeral(person: Person, room_id: str, type: str) -> list[Any]:
    """The contents of ephemeral events of a type in a first sync."""
    answer = await person.sync_now()
    events = answer["rooms"]["join"][room_id].get("ephemeral", {}).get("events", [])
    return [event["content"] for event in events if event["type"] == type]


async def test_a_receipt_is_seen_on_the_other_side(sides: Sides) -> None:  # noqa: F811
    alice, bob, room_id = await shared_room(sides)
    event_id = await alice.say(quote(room_id), "Read this")

    async def may_read() -> bool:
        status, _ = await bob.request("GET", f"rooms/{quote(room_id)}/event/{quote(event_id)}")
        return status == 200

    await eventually(may_read)
    await bob.post(f"rooms/{quote(room_id)}/receipt/m.read/{quote(event_id)}")
    await eventually(
        lambda: ephemeral(alice, room_id, "m.receipt"),
        lambda seen: any(bob.user_id in content.get(event_id, {}).get("m.read", {}) for content in seen),
    )


async def test_typing_is_seen_on_the_other_side_and_ends(sides: Sides) -> None:  # noqa: F811
    alice, bob, room_id = await shared_room(sides)
    path = f"rooms/{quote(room_id)}/typing/{quote(bob.user_id)}"
    await bob.put(path, {"typing": True, "timeout": 30_000})
    await eventually(
        lambda: ephemeral(alice, room_id, "m.typing"),
        lambda seen: any(bob.user_id in content["user_ids"] for content in seen),
    )
    await bob.put(path, {"typing": False})
    await eventually(
        lambda: ephemeral(alice, room_id, "m.typing"),
        lambda seen: not any(bob.user_id in content["user_ids"] for content in seen),
    )


async def test_presence_is_seen_on_the_other_side(sides: Sides) -> None:  # noqa: F811
    alice, bob, _room_id = await shared_room(sides)
    await bob.put(f"presence/{quote(bob.user_id)}/status", {"presence": "online", "status_msg": "on call"})

    async def look() -> Any:
        await bob.sync_now()
        _, answer = await alice.request("GET", f"presence/{quote(bob.user_id)}/status")
        return answer

    await eventually(look, lambda seen: seen.get("presence") == "online" and seen.get("status_msg") == "on call")


async def test_a_message_to_a_device_arrives_once(sides: Sides) -> None:  # noqa: F811
    alice, bob, _room_id = await shared_room(sides)
    messages = {bob.user_id: {bob.device_id: {"hello": "there"}}}
    await alice.put("sendToDevice/org.example.greeting/t1", {"messages": messages})
    since: dict[str, str] = {}
    seen: list[Any] = []

    async def look() -> list[Any]:
        answer = await bob.get("sync", timeout=0, **since)
        since["since"] = answer["next_batch"]
        seen.extend(answer.get("to_device", {}).get("events", []))
        return seen

    await eventually(look)
    await look()
    assert seen == [{"type": "org.example.greeting", "sender": alice.user_id, "content": {"hello": "there"}}]


async def test_a_profile_is_seen_on_the_other_side(sides: Sides) -> None:  # noqa: F811
    alice, bob = await sides[0].person(displayname="Dr. Alice"), await sides[1].person()
    answer = await bob.get(f"profile/{quote(alice.user_id)}")
    assert answer["displayname"] == "Dr. Alice"
