"""Whom events concern is stored with them: a class for everybody, and rows only for those who are told otherwise.

Spec: https://spec.matrix.org/v1.19/client-server-api/#receiving-notifications
"""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import asyncpg
import pytest

from tests.people import Hospital, Person
from tim_server.matrix.push_rules import NotifyClass, NotifyLevel

NONE, NOTIFY, HIGHLIGHT = NotifyLevel
EVENT = """
SELECT e.notify_class, coalesce(jsonb_object_agg(n.user_id, n.level) FILTER (WHERE n.user_id IS NOT NULL), '{}') AS told
FROM events AS e LEFT JOIN notifications AS n ON n.room_nid = e.room_nid AND n.position = e.position
WHERE e.event_id = $1 GROUP BY e.nid
"""
LOUD = ["notify", {"set_tweak": "highlight"}]


@dataclass
class Ledger:
    """What the database says of events."""

    connection: "asyncpg.Connection[asyncpg.Record]"

    async def of(self, event_id: str) -> tuple[NotifyClass, dict[str, int]]:
        """The class of an event, and levels by user id where there are rows."""
        row = await self.connection.fetchrow(EVENT, event_id)
        assert row is not None
        return NotifyClass(row["notify_class"]), json.loads(row["told"])


@pytest.fixture
async def ledger(hospital: Hospital, tenant_dsn: str) -> AsyncIterator[Ledger]:
    connection = await asyncpg.connect(tenant_dsn)
    yield Ledger(connection)
    await connection.close()


@dataclass
class Room:
    """Alice writes, Bob and Carol listen."""

    alice: Person
    bob: Person
    carol: Person
    id: str

    async def write(self, content: Any = None, type: str = "m.room.message", **more: Any) -> str:
        text = {"msgtype": "m.text", "body": "hello"}
        return await self.alice.send(self.id, {**text, **(content or {}), **more}, type=type)


@pytest.fixture
async def room(hospital: Hospital) -> Room:
    alice, bob, carol = [await hospital.person() for _ in range(3)]
    room_id = await alice.create_room()
    await bob.join(room_id)
    await carol.join(room_id)
    return Room(alice, bob, carol, room_id)


async def put_rule(person: Person, kind: str, rule_id: str, **body: Any) -> None:
    path = f"pushrules/global/{kind}/{quote(rule_id, safe='')}"
    await person.put(path, {"actions": LOUD, **body})


async def test_a_message_has_a_class_and_no_rows(room: Room, ledger: Ledger) -> None:
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE, {})
    assert await ledger.of(await room.write(type="m.room.encrypted")) == (NotifyClass.ENCRYPTED, {})
    assert await ledger.of(await room.write(msgtype="m.notice")) == (NotifyClass.QUIET, {})
    assert await ledger.of(await room.alice.set_state(room.id, "m.room.topic", {"topic": "x"})) == (0, {})
    moved = {"body": "x", "replacement_room": await room.alice.create_room()}
    tombstone = await room.alice.set_state(room.id, "m.room.tombstone", moved)
    assert await ledger.of(tombstone) == (NotifyClass.TOMBSTONE, {})


async def test_a_room_of_two(room: Room, ledger: Ledger) -> None:
    await room.carol.leave(room.id)
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE_ONE_TO_ONE, {})
    assert await ledger.of(await room.write(type="m.room.encrypted")) == (NotifyClass.ENCRYPTED_ONE_TO_ONE, {})


async def test_who_is_mentioned_has_a_row(room: Room, ledger: Ledger, hospital: Hospital) -> None:
    stranger = await hospital.person()
    named = [room.alice.user_id, room.bob.user_id, stranger.user_id, "@x:clinic.example", 1, "x"]
    event_id = await room.write({"m.mentions": {"user_ids": named}})
    assert await ledger.of(event_id) == (NotifyClass.MESSAGE, {room.bob.user_id: HIGHLIGHT})
    encrypted = await room.write({"m.mentions": {"user_ids": named}}, type="m.room.encrypted")
    assert await ledger.of(encrypted) == (NotifyClass.ENCRYPTED, {room.bob.user_id: HIGHLIGHT})


async def test_names_in_the_text_are_no_mentions(room: Room, ledger: Ledger) -> None:
    await room.bob.put(f"profile/{room.bob.user_id}/displayname", {"displayname": "Bob"})
    assert await ledger.of(await room.write(body="Bob, @room")) == (NotifyClass.MESSAGE, {})


async def test_a_mention_of_the_room_needs_the_power_for_it(room: Room, ledger: Ledger) -> None:
    mention = {"msgtype": "m.text", "body": "x", "m.mentions": {"room": True}}
    assert await ledger.of(await room.write(mention)) == (NotifyClass.ROOM_MENTION, {})
    assert await ledger.of(await room.bob.send(room.id, mention)) == (NotifyClass.MESSAGE, {})
    assert await ledger.of(await room.write({**mention, "m.mentions": {"room": 1}})) == (NotifyClass.MESSAGE, {})


async def test_an_invitation_is_for_who_is_invited(room: Room, ledger: Ledger, hospital: Hospital) -> None:
    dave = await hospital.person()
    await room.alice.post(f"rooms/{room.id}/invite", {"user_id": dave.user_id})
    state = await room.alice.get(f"rooms/{room.id}/state")
    invite = next(event for event in state if event.get("state_key") == dave.user_id)
    assert await ledger.of(invite["event_id"]) == (NotifyClass.STATE, {dave.user_id: NOTIFY})
    room_id = await room.alice.create_room(invite=[dave.user_id])
    state = await room.alice.get(f"rooms/{room_id}/state")
    invite = next(event for event in state if event.get("state_key") == dave.user_id)
    assert await ledger.of(invite["event_id"]) == (NotifyClass.STATE, {dave.user_id: NOTIFY})


async def test_a_keyword_of_somebody(room: Room, ledger: Ledger) -> None:
    await room.write()
    await put_rule(room.bob, "content", "cake", pattern="cake")
    assert await ledger.of(await room.write(body="Cake?")) == (NotifyClass.MESSAGE, {room.bob.user_id: HIGHLIGHT})
    assert await ledger.of(await room.write(body="cakes")) == (NotifyClass.MESSAGE, {})
    assert await ledger.of(await room.bob.say(room.id, "cake")) == (NotifyClass.MESSAGE, {})
    await room.bob.expect(200, "DELETE", "pushrules/global/content/cake")
    assert await ledger.of(await room.write(body="Cake?")) == (NotifyClass.MESSAGE, {})


async def test_keywords_of_who_joins_later_and_of_who_leaves(room: Room, ledger: Ledger, hospital: Hospital) -> None:
    dave = await hospital.person()
    await put_rule(dave, "content", "x", pattern="*")
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE, {})
    await dave.join(room.id)
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE, {dave.user_id: HIGHLIGHT})
    await dave.leave(room.id)
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE, {})


async def test_rules_about_rooms_and_default_rules_need_no_rows(room: Room, ledger: Ledger) -> None:
    await put_rule(room.bob, "room", room.id, actions=[])
    muted = [{"kind": "event_match", "key": "room_id", "pattern": room.id}]
    await put_rule(room.carol, "override", room.id, actions=[], conditions=muted)
    await room.alice.put("pushrules/global/underride/.m.rule.message/actions", {"actions": []})
    both = {"m.mentions": {"user_ids": [room.bob.user_id, room.carol.user_id]}}
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE, {})
    assert await ledger.of(await room.write(both)) == (NotifyClass.MESSAGE, {room.bob.user_id: HIGHLIGHT})


async def test_a_sender_rule(room: Room, ledger: Ledger) -> None:
    await put_rule(room.bob, "sender", room.alice.user_id, actions=[])
    assert await ledger.of(await room.write()) == (NotifyClass.MESSAGE, {room.bob.user_id: NONE})
    assert await ledger.of(await room.carol.say(room.id, "x")) == (NotifyClass.MESSAGE, {})


async def test_who_wants_everything_of_a_room_is_told_of_state_too(room: Room, ledger: Ledger) -> None:
    await put_rule(room.bob, "room", room.id, actions=["notify"])
    topic = await room.alice.set_state(room.id, "m.room.topic", {"topic": "y"})
    assert await ledger.of(topic) == (NotifyClass.STATE, {room.bob.user_id: NOTIFY})


async def test_a_display_name_that_a_rule_of_ones_own_looks_for(room: Room, ledger: Ledger) -> None:
    await put_rule(room.bob, "override", "name", conditions=[{"kind": "contains_display_name"}])
    await room.bob.put(f"profile/{room.bob.user_id}/displayname", {"displayname": "Dr. Bob"})
    assert await ledger.of(await room.write(body="dr. bob!")) == (NotifyClass.MESSAGE, {room.bob.user_id: HIGHLIGHT})
    assert await ledger.of(await room.write(body="doctor bob")) == (NotifyClass.MESSAGE, {})
