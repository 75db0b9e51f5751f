"""Gaps in what arrives live: what lies in them is read back like what came before the join."""

from typing import Any

from tests.eventually import eventually
from tests.services.rooms.remote.backfill.conftest import BACKFILL, Joined
from tests.shared_rooms import push
from tim_server.matrix.events.record import Event


async def arrive(joined: Joined, *events: Event) -> dict[str, Any]:
    """Events are sent, and Alice's next sync tells of the last; its section of the room."""
    since = (await joined.alice.get("sync"))["next_batch"]
    await push(joined.peer, "a.example", *events)
    told: dict[str, Any] = {}

    async def look() -> list[str]:
        answer = await joined.alice.get("sync", since=since, timeout=1_000)
        told.update(answer.get("rooms", {}).get("join", {}).get(joined.room.room_id, {}))
        return [event["event_id"] for event in told.get("timeline", {}).get("events", [])]

    await eventually(look, lambda ids: events[-1].event_id in ids)
    return told


async def read_back(joined: Joined, start: str) -> list[str]:
    """Ids of all events back from a token."""
    found: list[str] = []
    for _ in range(40):
        page = await joined.alice.history(joined.room.room_id, from_=start, limit=50)
        found += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            return found
        assert page["end"] != start
        start = page["end"]
    raise AssertionError("the history does not end")


async def test_a_gap_that_is_too_wide_to_close_is_read_back(joined: Joined) -> None:
    joined.room.say("first")
    await joined.join()
    await joined.texts()
    for number in range(300):
        joined.room.say(f"lost {number}")
        if number % 50 == 0:
            joined.room.add("m.room.topic", {"topic": f"{number}"}, state_key="")
    told = await arrive(joined, joined.room.say("live"))
    assert told["timeline"]["limited"]
    assert (await joined.alice.state(joined.room.room_id, "m.room.topic"))["topic"] == "250"
    seen = await read_back(joined, told["timeline"]["prev_batch"])
    shown = [event["event_id"] for event in told["timeline"]["events"][::-1]]
    assert [*shown, *seen] == [*joined.room.events][::-1]


async def test_several_events_behind_one_gap_are_told_once_each(joined: Joined) -> None:
    await joined.join()
    await joined.texts()
    for number in range(300):
        joined.room.say(f"lost {number}")
    first, second = joined.room.say("first"), joined.room.say("second")
    told = await arrive(joined, second)
    await arrive(joined, joined.room.say("third"))
    seen = await read_back(joined, told["timeline"]["prev_batch"])
    assert len(seen) == len({*seen})
    assert first.event_id in {*seen, *(event["event_id"] for event in told["timeline"]["events"])}
    newest = await joined.alice.history(joined.room.room_id, limit=1)
    assert next(iter(newest["chunk"]))["content"]["body"] == "third"
    everything = [newest["chunk"][0]["event_id"], *await read_back(joined, newest["end"])]
    assert everything == [*joined.room.events][::-1]


async def test_what_was_missing_and_is_sent_later_is_not_told_twice(joined: Joined) -> None:
    await joined.join()
    await joined.texts()
    lost = [joined.room.say(f"lost {number}") for number in range(300)]
    await arrive(joined, joined.room.say("live"))
    await push(joined.peer, "a.example", *lost[-3:])
    newest = await joined.alice.history(joined.room.room_id, limit=1)
    everything = [newest["chunk"][0]["event_id"], *await read_back(joined, newest["end"])]
    assert len(everything) == len({*everything})
    assert {*everything} == {*joined.room.events}


async def test_history_that_was_fetched_into_a_gap_is_given_on_without_one(joined: Joined) -> None:
    await joined.join()
    await joined.texts()
    for number in range(300):
        joined.room.say(f"lost {number}")
    told = await arrive(joined, joined.room.say("live"))
    await read_back(joined, told["timeline"]["prev_batch"])
    ids = [*joined.room.events][::-1]
    for start in (0, 99, 198):
        query = f"v={ids[start].replace('$', '%24')}&limit=100"
        status, answer = await joined.peer.ask("a.example", "GET", f"{BACKFILL}/{joined.room.room_id}?{query}")
        given = [joined.room.read(pdu).event_id for pdu in answer["pdus"]]
        assert (status, given) == (200, ids[start : start + 100])


async def test_history_in_which_branches_with_states_of_their_own_come_together_again_and_again(joined: Joined) -> None:
    room = joined.room
    room.say("first")
    for number in range(45):
        prev = room.prev
        sides = [room.add(f"org.example.{side}", {"n": number}, state_key="", prev_events=prev) for side in "ab"]
        room.prev = tuple(side.event_id for side in sides)
    await joined.join()
    assert await joined.texts() == ["first"]


async def test_who_has_read_what_was_not_here_is_told_once_it_is(joined: Joined) -> None:
    """As a server is told when it comes into a room, of which it knows no history yet."""
    read, reader = joined.room.say("read by who was there"), str(joined.room.creator)
    await joined.join()
    receipt = {reader: {"event_ids": [read.event_id], "data": {"ts": 1}}}
    edu = {"edu_type": "m.receipt", "content": {joined.room.room_id: {"m.read": receipt}}}
    await push(joined.peer, "a.example", edus=[edu])
    assert await receipts_of(joined) == {}
    assert await joined.texts() == ["read by who was there"]
    told = await eventually(lambda: receipts_of(joined))
    assert told[read.event_id]["m.read"].keys() == {reader}


async def receipts_of(joined: Joined) -> dict[str, Any]:
    """The receipts in the room that Alice is told of, by event."""
    of_room = (await joined.alice.sync_now())["rooms"]["join"][joined.room.room_id]
    events = of_room.get("ephemeral", {"events": []})["events"]
    return next((event["content"] for event in events if event["type"] == "m.receipt"), {})
