"""Conversations of Alice at one hospital, whose history Bob at another reads back, from before he came and while he was
away."""

import asyncio
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.people import Person
from tim_server.matrix.identifiers import ServerName

VISIBILITY = "m.room.history_visibility"


@pytest.fixture
async def alice(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.a.person()


@pytest.fixture
async def bob(neighbourhood: Neighbourhood) -> Person:
    return await neighbourhood.b.person()


async def join(person: Person, room_id: str) -> None:
    await person.post(f"join/{room_id}", via="a.example")


async def leave(person: Person, room_id: str, other: Person) -> None:
    """A person leaves, and the other one, at the other hospital, hears of it."""
    await person.leave(room_id)
    for _ in range(400):
        if (await other.state(room_id, "m.room.member", person.user_id))["membership"] == "leave":
            return
        await asyncio.sleep(0.05)
    raise AssertionError("nobody hears of it")


async def read_all(person: Person, room_id: str, start: str | None = None, **query: Any) -> list[dict[str, Any]]:
    """All events that the person gets to see, newest first."""
    events: list[dict[str, Any]] = []
    for _ in range(100):
        page = await person.history(room_id, from_=start, limit=40, **query)
        events += page["chunk"]
        if "end" not in page:
            return events
        assert page["end"] != start, "a hole was not filled"
        start = page["end"]
    raise AssertionError("the history does not end")


def told(events: list[dict[str, Any]]) -> list[tuple[str, str, Any]]:
    """What is told of events, which is the same at all servers."""
    return [(event["event_id"], event["sender"], event["content"]) for event in events]


def texts(events: list[dict[str, Any]]) -> list[str]:
    return [event["content"]["body"] for event in events if "body" in event["content"]]


async def chat(person: Person, room_id: str, count: int, name: str) -> None:
    for number in range(count):
        await person.say(room_id, f"{name} {number}")


async def test_who_comes_later_reads_the_same_as_who_was_there(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room(name="Ward")
    colleague = await neighbourhood.a.person()
    await colleague.join(room_id)
    await chat(alice, room_id, 60, "first")
    await alice.set_state(room_id, "m.room.topic", {"topic": "Handover"})
    secret = await colleague.say(room_id, "secret")
    await alice.put(f"rooms/{room_id}/redact/{secret}/1", {"reason": "by mistake"})
    await colleague.leave(room_id)
    await chat(alice, room_id, 120, "second")
    await join(bob, room_id)
    seen, known = await read_all(bob, room_id), await read_all(alice, room_id)
    assert len(seen) > 185
    assert told(seen) == told(known)
    assert seen[-1]["type"] == "m.room.create"


async def test_who_was_away_is_told_of_a_gap_and_reads_it_back(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    room_id = await alice.create_room()
    await join(bob, room_id)
    await alice.say(room_id, "before")
    since = await until_told(bob, room_id, "before")
    await leave(bob, room_id, alice)
    await chat(alice, room_id, 130, "away")
    await join(bob, room_id)
    await alice.say(room_id, "after")
    timeline = (await bob.get("sync", since=since))["rooms"]["join"][room_id]["timeline"]
    assert timeline["limited"]
    assert not any("away" in text for text in texts(timeline["events"]))
    missed = await read_all(bob, room_id, timeline["prev_batch"])
    assert texts(missed)[:130] == [f"away {number}" for number in reversed(range(130))]
    assert told(await read_all(bob, room_id)) == told(await read_all(alice, room_id))


@pytest.mark.parametrize(("setting", "sees_the_gap"), [("shared", True), ("joined", False)])
async def test_what_was_said_while_away_is_seen_as_the_room_has_it(
    alice: Person, bob: Person, setting: str, sees_the_gap: bool
) -> None:
    room_id = await alice.create_room()
    await alice.set_state(room_id, VISIBILITY, {"history_visibility": setting})
    await alice.say(room_id, "too early")
    await join(bob, room_id)
    await alice.say(room_id, "while here")
    await until_told(bob, room_id, "while here")
    await leave(bob, room_id, alice)
    await alice.say(room_id, "while away")
    await join(bob, room_id)
    seen = texts(await read_all(bob, room_id))
    assert seen == (["while away", "while here", "too early"] if sees_the_gap else ["while here"])


async def test_who_has_left_reads_what_is_there_to_its_end(alice: Person, bob: Person) -> None:
    """The room's servers tell nothing more to one that is not in it."""
    room_id = await alice.create_room()
    await chat(alice, room_id, 120, "old")
    await join(bob, room_id)
    await leave(bob, room_id, alice)
    seen = await read_all(bob, room_id)
    assert [event["content"]["membership"] for event in seen[:2]] == ["leave", "join"]


async def test_history_is_had_of_a_server_that_fetched_it_itself(
    neighbourhood: Neighbourhood, alice: Person, bob: Person
) -> None:
    """Alice's server asks Bob's, where he has read all of it, as the peer could not say."""
    room_id = await alice.create_room()
    await chat(alice, room_id, 30, "old")
    await join(bob, room_id)
    seen = await read_all(bob, room_id)
    federation = neighbourhood.a.process.homeservers[0].federation
    path = f"/_matrix/federation/v1/backfill/{room_id}"
    query = {"v": seen[0]["event_id"], "limit": "100"}
    answer = await federation.client.get(ServerName(neighbourhood.b.name), path, query)
    given = [pdu["content"] for pdu in answer["pdus"] if pdu["type"] == "m.room.message"]
    assert [content["body"] for content in given] == texts(seen)


async def test_an_event_is_found_by_its_time_at_another_server(alice: Person, bob: Person) -> None:
    room_id = await alice.create_room()
    first = await alice.say(room_id, "first")
    await chat(alice, room_id, 120, "more")
    await join(bob, room_id)
    ts = (await alice.event(room_id, first))["origin_server_ts"]
    path = f"/_matrix/client/v1/rooms/{room_id}/timestamp_to_event"
    assert (await bob.get(path, ts=ts, dir="f"))["event_id"] == (await alice.get(path, ts=ts, dir="f"))["event_id"]
    context = await bob.get(f"rooms/{room_id}/context/{first}")
    assert context["event"]["content"]["body"] == "first"
    assert told(await read_all(bob, room_id)) == told(await read_all(alice, room_id))


async def test_what_was_redacted_before_it_was_read_is_never_seen(alice: Person, bob: Person) -> None:
    room_id = await alice.create_room()
    secret = await alice.say(room_id, "secret")
    await join(bob, room_id)
    await alice.put(f"rooms/{room_id}/redact/{secret}/1", {})
    await alice.say(room_id, "after")
    await until_told(bob, room_id, "after")
    seen = {event["event_id"]: event for event in await read_all(bob, room_id)}
    assert seen[secret]["content"] == {}
    assert "redacted_because" in seen[secret]["unsigned"]


async def until_told(person: Person, room_id: str, text: str) -> str:
    """The token of the sync that tells a text."""
    since: str | None = None
    for _ in range(50):
        answer = await person.get("sync", since=since, timeout=2_000)
        since = answer["next_batch"]
        timeline = answer.get("rooms", {}).get("join", {}).get(room_id, {}).get("timeline", {})
        if text in texts(timeline.get("events", [])):
            return str(since)
    raise AssertionError(f"{text} does not come")


async def test_the_first_page_after_a_join_is_a_whole_one(alice: Person, bob: Person) -> None:
    room_id = await alice.create_room()
    said = [await alice.say(room_id, f"{number}") for number in range(10)]
    await join(bob, room_id)
    page = await bob.history(room_id, limit=6)
    assert [event["event_id"] for event in page["chunk"]][1:] == said[:-6:-1]
