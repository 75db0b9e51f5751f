"""The list of what a user was notified of, over real HTTP.

Spec: https://spec.matrix.org/v1.19/client-server-api/#listing-notifications
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import pytest

from tests.people import CLIENT, Hospital, Person

LOUD = ["notify", {"set_tweak": "highlight"}]


@dataclass
class Ward:
    """Two rooms in which Alice writes and Bob reads, with Carol."""

    alice: Person
    bob: Person
    first: str
    second: str

    async def listed(self, **query: Any) -> list[dict[str, Any]]:
        notifications: list[dict[str, Any]] = (await self.bob.get("notifications", **query))["notifications"]
        return notifications

    async def bodies(self, **query: Any) -> list[str]:
        return [entry["event"]["content"].get("body", "") for entry in await self.listed(**query)]

    def mention(self, text: str) -> dict[str, Any]:
        return {"msgtype": "m.text", "body": text, "m.mentions": {"user_ids": [self.bob.user_id]}}


@pytest.fixture
async def ward(hospital: Hospital) -> Ward:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    rooms = [await alice.create_room() for _ in range(2)]
    for room_id in rooms:
        await alice.say(room_id, "before Bob came")
        await bob.join(room_id)
        await carol.join(room_id)
    return Ward(alice, bob, *rooms)


async def test_nothing_yet(ward: Ward) -> None:
    assert await ward.bob.get("notifications") == {"notifications": []}


async def test_a_notification(ward: Ward) -> None:
    event_id = await ward.alice.say(ward.first, "hello")
    (entry,) = await ward.listed()
    event = entry.pop("event")
    assert (event["event_id"], event["content"]["body"]) == (event_id, "hello")
    assert "room_id" not in event
    ts = entry.pop("ts")
    assert ts == event["origin_server_ts"]
    assert entry == {"room_id": ward.first, "actions": ["notify"], "read": False, "profile_tag": ""}


async def test_newest_first_over_all_rooms_page_by_page(ward: Ward) -> None:
    for number in range(5):
        await ward.alice.say(ward.first if number % 2 else ward.second, str(number))
    assert await ward.bodies() == ["4", "3", "2", "1", "0"]
    page = await ward.bob.get("notifications", limit=2)
    assert [entry["event"]["content"]["body"] for entry in page["notifications"]] == ["4", "3"]
    assert await ward.bodies(limit=2, from_=page["next_token"]) == ["2", "1"]
    assert await ward.bodies(limit=10, from_=page["next_token"]) == ["2", "1", "0"]
    assert "next_token" not in await ward.bob.get("notifications", limit=10)


async def test_only_highlights(ward: Ward) -> None:
    await ward.alice.say(ward.first, "hello")
    await ward.alice.send(ward.first, ward.mention("you"))
    await ward.alice.send(ward.second, {"msgtype": "m.text", "body": "all", "m.mentions": {"room": True}})
    await ward.alice.say(ward.first, "bye")
    assert await ward.bodies(only="highlight") == ["all", "you"]
    everybody, you = await ward.listed(only="highlight")
    assert everybody["actions"] == ["notify", {"set_tweak": "highlight", "value": True}]
    assert {"set_tweak": "sound", "value": "default"} in you["actions"]
    assert await ward.bodies(only="other") == ["bye", "all", "you", "hello"]


async def test_what_was_read_is_marked(ward: Ward) -> None:
    first, _ = await ward.alice.say(ward.first, "a"), await ward.alice.say(ward.first, "b")
    await ward.bob.post(f"rooms/{ward.first}/receipt/m.read/{quote(first)}")
    assert [entry["read"] for entry in await ward.listed()] == [False, True]


async def test_what_is_not_listed(ward: Ward) -> None:
    await ward.bob.say(ward.first, "my own")
    await ward.alice.send(ward.first, {"msgtype": "m.notice", "body": "a notice"})
    redacted = await ward.alice.say(ward.first, "redacted")
    await ward.alice.put(f"rooms/{ward.first}/redact/{quote(redacted)}/1", {})
    assert await ward.bodies() == []


async def test_rules_as_they_are_now(ward: Ward) -> None:
    await ward.alice.say(ward.first, "one")
    await ward.bob.put("pushrules/global/content/cake", {"pattern": "cake", "actions": LOUD})
    await ward.alice.say(ward.first, "cake")
    await ward.alice.say(ward.second, "two")
    assert await ward.bodies() == ["two", "cake", "one"]
    assert (await ward.listed())[1]["actions"] == ["notify", {"set_tweak": "highlight", "value": True}]
    await ward.bob.put(f"pushrules/global/room/{quote(ward.first)}", {"actions": []})
    assert await ward.bodies() == ["two", "cake"]


async def test_ignored_users_are_not_listed(ward: Ward) -> None:
    await ward.alice.send(ward.first, ward.mention("you"))
    ignored = {"ignored_users": {ward.alice.user_id: {}}}
    await ward.bob.put(f"user/{ward.bob.user_id}/account_data/m.ignored_user_list", ignored)
    assert await ward.listed() == []


async def test_invitations_are_listed(ward: Ward) -> None:
    room_id = await ward.alice.create_room(preset="private_chat", invite=[ward.bob.user_id])
    (entry,) = await ward.listed()
    assert (entry["room_id"], entry["event"]["content"]["membership"]) == (room_id, "invite")
    assert entry["actions"] == ["notify", {"set_tweak": "sound", "value": "default"}]


async def test_rooms_that_were_left_are_not_listed(ward: Ward) -> None:
    await ward.alice.say(ward.first, "hello")
    await ward.bob.leave(ward.first)
    assert await ward.listed() == []


async def test_refusals(ward: Ward, hospital: Hospital) -> None:
    await ward.bob.refused(400, "M_INVALID_PARAM", "GET", "notifications", from_="x")
    await ward.bob.refused(400, "M_INVALID_PARAM", "GET", "notifications", limit=0)
    await ward.bob.refused(400, "M_INVALID_PARAM", "GET", "notifications", limit="x")
    async with hospital.session.get(f"{CLIENT}/notifications") as response:
        assert (response.status, (await response.json())["errcode"]) == (401, "M_MISSING_TOKEN")
