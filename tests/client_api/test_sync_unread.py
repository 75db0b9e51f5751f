"""Unread counts in `/sync`: how many messages notify, how many are highlights, by room and by thread.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

import json
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import pytest

from tests.people import Hospital, Person

WITH_THREADS = json.dumps({"room": {"timeline": {"unread_thread_notifications": True}}})


@dataclass
class Reader:
    """Somebody whose client syncs, and the newest counts of one room that it was told."""

    person: Person
    room_id: str
    filter: str | None = None
    since: str | None = None
    newest: Any = None
    threads: dict[str, Any] = field(default_factory=dict)

    async def sync(self, **query: Any) -> Any:
        """The room in the next answer, None where the answer says nothing of it."""
        answer = await self.person.get("sync", since=self.since, filter=self.filter, **query)
        self.since = answer["next_batch"]
        room = answer.get("rooms", {}).get("join", {}).get(self.room_id)
        if room is not None:
            self.newest = room["unread_notifications"]
            self.threads = room.get("unread_thread_notifications", {})
        return room

    async def counts(self) -> tuple[int, int]:
        """What the client knows after the next answer, which a first answer confirms: notifications, highlights."""
        await self.sync()
        first = await self.person.get("sync", filter=self.filter)
        room = first["rooms"]["join"][self.room_id]
        assert room["unread_notifications"] == self.newest
        assert room.get("unread_thread_notifications", {}) == self.threads
        return self.newest["notification_count"], self.newest["highlight_count"]

    async def read(self, event_id: str, thread_id: str | None = None, kind: str = "m.read") -> None:
        body = {} if thread_id is None else {"thread_id": thread_id}
        await self.person.post(f"rooms/{self.room_id}/receipt/{kind}/{quote(event_id)}", body)


@dataclass
class Ward:
    """A room in which Alice writes, and Bob and Carol read."""

    alice: Person
    bob: Reader
    carol: Reader

    async def say(self, text: str = "hello", **content: Any) -> str:
        return await self.alice.send(self.bob.room_id, {"msgtype": "m.text", "body": text, **content})

    async def say_in(self, root: str, **content: Any) -> str:
        return await self.say(**{"m.relates_to": {"rel_type": "m.thread", "event_id": root}, **content})


@pytest.fixture
async def ward(hospital: Hospital) -> Ward:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await alice.say(room_id, "before anybody came")
    readers = [Reader(person, room_id) for person in (bob, carol)]
    for reader in readers:
        await reader.person.join(room_id)
        assert await reader.counts() == (0, 0)
    return Ward(alice, *readers)


def mention(*people: Reader) -> dict[str, Any]:
    return {"m.mentions": {"user_ids": [reader.person.user_id for reader in people]}}


async def test_messages_of_others_count(ward: Ward) -> None:
    await ward.say()
    assert await ward.bob.counts() == (1, 0)
    await ward.say(**mention(ward.bob))
    await ward.say(msgtype="m.notice")
    assert await ward.bob.counts() == (2, 1)
    assert await ward.carol.counts() == (2, 0)
    alice = Reader(ward.alice, ward.bob.room_id)
    assert await alice.counts() == (0, 0)


async def test_the_count_comes_with_the_event(ward: Ward) -> None:
    await ward.say()
    room = await ward.carol.sync()
    assert [event["content"]["body"] for event in room["timeline"]["events"]] == ["hello"]
    assert room["unread_notifications"] == {"notification_count": 1, "highlight_count": 0}


@pytest.mark.parametrize("kind", ["m.read", "m.read.private"])
async def test_a_receipt_lowers_the_count_on_other_devices_too(ward: Ward, kind: str) -> None:
    first, _ = await ward.say(), await ward.say(**mention(ward.bob))
    assert await ward.bob.counts() == (2, 1)
    await ward.bob.read(first, kind=kind)
    assert await ward.bob.sync(timeout=5_000) is not None
    assert await ward.bob.counts() == (1, 1)
    await ward.bob.read(await ward.say(), kind=kind)
    assert await ward.bob.counts() == (0, 0)
    assert await ward.carol.counts() == (3, 0)


async def test_fully_read_markers_read_nothing(ward: Ward) -> None:
    event_id = await ward.say()
    await ward.bob.person.post(f"rooms/{ward.bob.room_id}/read_markers", {"m.fully_read": event_id})
    assert await ward.bob.counts() == (1, 0)


async def test_who_writes_has_read_up_to_there(ward: Ward) -> None:
    await ward.say()
    assert await ward.bob.counts() == (1, 0)
    await ward.bob.person.say(ward.bob.room_id, "yes?")
    assert await ward.bob.counts() == (0, 0)
    assert await ward.carol.counts() == (2, 0)


async def test_a_new_display_name_reads_nothing(ward: Ward) -> None:
    await ward.say()
    await ward.bob.person.put(f"profile/{ward.bob.person.user_id}/displayname", {"displayname": "Bob"})
    assert await ward.bob.counts() == (1, 0)


async def test_redacted_messages_do_not_count(ward: Ward) -> None:
    event_id = await ward.say(**mention(ward.bob))
    assert await ward.bob.counts() == (1, 1)
    await ward.alice.put(f"rooms/{ward.bob.room_id}/redact/{quote(event_id)}/1", {})
    assert await ward.bob.counts() == (0, 0)


async def test_ignored_users_do_not_count(ward: Ward) -> None:
    ignored = {"ignored_users": {ward.alice.user_id: {}}}
    path = f"user/{ward.bob.person.user_id}/account_data/m.ignored_user_list"
    await ward.bob.person.put(path, ignored)
    await ward.say(**mention(ward.bob))
    await ward.carol.person.say(ward.carol.room_id, "hello")
    assert await ward.bob.counts() == (1, 0)
    await ward.bob.person.put(path, {})
    await ward.say()
    assert await ward.bob.counts() == (3, 1)


async def test_threads_are_counted_apart_where_the_client_asks_for_it(ward: Ward) -> None:
    ward.carol.filter, ward.carol.since = WITH_THREADS, None
    await ward.carol.sync()
    root = await ward.say()
    reply = await ward.say_in(root)
    await ward.say_in(root, **mention(ward.carol))
    assert await ward.bob.counts() == (3, 0)
    assert await ward.carol.counts() == (1, 0)
    assert ward.carol.threads == {root: {"notification_count": 2, "highlight_count": 1}}
    await ward.carol.read(reply, root)
    assert await ward.carol.counts() == (1, 0)
    assert ward.carol.threads == {root: {"notification_count": 1, "highlight_count": 1}}
    await ward.carol.read(root, "main")
    assert await ward.carol.counts() == (0, 0)
    assert ward.carol.threads[root]["notification_count"] == 1
    await ward.carol.read(await ward.say())
    assert await ward.carol.counts() == (0, 0)
    assert ward.carol.threads == {}


async def test_a_muted_room_counts_nothing(ward: Ward) -> None:
    room_id = ward.bob.room_id
    await ward.say()
    condition = {"kind": "event_match", "key": "room_id", "pattern": room_id}
    path = f"pushrules/global/override/{quote(room_id)}"
    await ward.bob.person.put(path, {"conditions": [condition], "actions": []})
    await ward.say(**mention(ward.bob))
    assert await ward.bob.counts() == (0, 0)
    await ward.bob.person.expect(200, "DELETE", path)
    await ward.say()
    assert await ward.bob.counts() == (3, 0)


async def test_mentions_only(ward: Ward) -> None:
    await ward.bob.person.put(f"pushrules/global/room/{quote(ward.bob.room_id)}", {"actions": []})
    await ward.say()
    await ward.say(**mention(ward.bob))
    await ward.say(**{"m.mentions": {"room": True}})
    assert await ward.bob.counts() == (2, 2)
    assert await ward.carol.counts() == (3, 1)


async def test_a_keyword(ward: Ward) -> None:
    loud = ["notify", {"set_tweak": "highlight"}]
    await ward.bob.person.put("pushrules/global/content/cake", {"pattern": "cake", "actions": loud})
    await ward.say("a cake")
    await ward.say("cakes")
    assert await ward.bob.counts() == (2, 1)


async def test_who_comes_back_begins_anew(ward: Ward) -> None:
    await ward.say()
    await ward.bob.person.leave(ward.bob.room_id)
    await ward.say()
    await ward.bob.person.join(ward.bob.room_id)
    await ward.say()
    ward.bob.since = None
    assert await ward.bob.counts() == (1, 0)
