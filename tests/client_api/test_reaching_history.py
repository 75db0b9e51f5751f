"""Into the midst of history that is not here: the event nearest to a time, and the context of an event by its id."""

import time
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.peer_history import PeerHistory
from tests.peer_room import FEDERATION, PeerRoom
from tests.people import Person
from tim_server.matrix.events.record import Event

HOUR = 3_600_000


class Ward:
    """A room of the peer's with a message an hour, the last of them an hour ago, which Alice has just joined."""

    def __init__(self, neighbourhood: Neighbourhood, alice: Person) -> None:
        self.peer, self.alice = neighbourhood.peer, alice
        self.peer.requests.clear()
        self.now = int(time.time() * 1000)
        self.room = PeerRoom.create(self.peer.author, "11")
        self.room.serve(self.peer)
        self.history = PeerHistory(self.room)
        self.history.serve(self.peer)
        self.said: list[Event] = []

    async def fill(self, messages: int = 10, **options: Any) -> None:
        first = next(iter(self.room.events.values()))
        assert first.type == "m.room.create"
        for number in range(messages):
            ts = self.now - (messages - number) * HOUR
            self.said.append(self.room.say(f"{number}", origin_server_ts=ts, **options))
        await self.alice.post(f"join/{self.room.room_id}", via="peer.example")

    async def at(self, hours_ago: float, direction: str, status: int = 200) -> Any:
        """The event nearest to some hours ago."""
        path = f"/_matrix/client/v1/rooms/{self.room.room_id}/timestamp_to_event"
        ts = self.now - int(hours_ago * HOUR)
        return await self.alice.expect(status, "GET", path, ts=ts, dir=direction)

    async def context(self, event: Event, limit: int = 4) -> Any:
        return await self.alice.get(f"rooms/{self.room.room_id}/context/{event.event_id}", limit=limit)

    async def read(self, direction: str, start: str, pages: int = 20) -> list[str]:
        """Ids of all events from a token to where there are no more, or none can be had."""
        found: list[str] = []
        for _ in range(pages):
            page = await self.alice.history(self.room.room_id, dir=direction, from_=start, limit=3)
            found += [event["event_id"] for event in page["chunk"]]
            if page.get("end") in (None, start) and not page["chunk"]:
                return found
            if "end" not in page:
                return found
            start = page["end"]
        return found

    def asked(self, what: str) -> int:
        return len(self.peer.asked(f"{FEDERATION}/v1/{what}/"))


@pytest.fixture
async def ward(neighbourhood: Neighbourhood) -> Ward:
    return Ward(neighbourhood, await neighbourhood.a.person())


async def test_other_servers_are_asked_for_an_event_nearer_to_the_time(ward: Ward) -> None:
    await ward.fill()
    found = await ward.at(5.4, "f")
    assert found == {"event_id": ward.said[5].event_id, "origin_server_ts": ward.said[5].origin_server_ts}
    found = await ward.at(5.4, "b")
    assert found["event_id"] == ward.said[4].event_id
    assert ward.asked("timestamp_to_event") == 2
    assert (await ward.at(5.4, "f"))["event_id"] == ward.said[5].event_id


async def test_clients_page_on_from_what_was_found_in_both_directions(ward: Ward) -> None:
    await ward.fill(30)
    found = await ward.at(15.5, "f")
    context = await ward.context(ward.said[15])
    assert context["event"]["event_id"] == found["event_id"]
    assert (context["events_before"], context["events_after"]) == ([], [])
    assert (
        await ward.read("b", context["start"])
        == [*ward.room.events][:-1][: list(ward.room.events).index(ward.said[15].event_id)][::-1]
    )
    after = await ward.read("f", context["end"])
    assert after == [event.event_id for event in (*ward.said[16:], ward.room.joins[0])]


async def test_history_is_read_through_what_was_reached_and_each_event_once(ward: Ward) -> None:
    ward.history.limit_max = 7
    await ward.fill(30)
    for hours_ago in (20.5, 10.5, 15.5):
        await ward.at(hours_ago, "f")
    newest = await ward.alice.history(ward.room.room_id, limit=1)
    seen = await ward.read("b", newest["end"], pages=60)
    assert seen == [*ward.room.events][-2::-1]


async def test_nobody_is_asked_where_no_history_is_missing(ward: Ward) -> None:
    await ward.fill(3)
    newest = await ward.alice.history(ward.room.room_id, limit=1)
    await ward.read("b", newest["end"])
    assert (await ward.at(1.5, "f"))["event_id"] == ward.said[2].event_id
    await ward.alice.expect(404, "GET", f"rooms/{ward.room.room_id}/context/$unknown")
    assert (ward.asked("timestamp_to_event"), ward.asked("event")) == (0, 0)


async def test_what_was_sent_after_the_join_is_found_here(ward: Ward) -> None:
    await ward.fill(3)
    said = await ward.alice.send(ward.room.room_id)
    ts = (await ward.alice.event(ward.room.room_id, said))["origin_server_ts"]
    path = f"/_matrix/client/v1/rooms/{ward.room.room_id}/timestamp_to_event"
    found = await ward.alice.get(path, ts=ts, dir="f")
    assert found["event_id"] == said
    assert ward.asked("timestamp_to_event") == 0


async def test_the_context_of_an_event_that_is_not_here_is_fetched(ward: Ward) -> None:
    await ward.fill()
    context = await ward.context(ward.said[4])
    assert context["event"]["content"]["body"] == "4"
    assert "m.room.create" in {event["type"] for event in context["state"]}
    assert (await ward.read("b", context["start"]))[0] == ward.said[3].event_id


@pytest.mark.parametrize("setting", ["joined", "invited"])
async def test_what_the_user_may_not_see_is_not_found(ward: Ward, setting: str) -> None:
    ward.room.add("m.room.history_visibility", {"history_visibility": setting}, state_key="")
    await ward.fill()
    join = await ward.at(5.4, "f")
    assert join["event_id"] == ward.room.joins[0].event_id
    await ward.alice.expect(404, "GET", f"rooms/{ward.room.room_id}/context/{ward.said[4].event_id}")


@pytest.mark.parametrize("lie", ["further", "other direction", "unknown", "nonsense", "of another room"])
async def test_a_lie_about_times_changes_nothing(ward: Ward, lie: str) -> None:
    await ward.fill()
    other = PeerRoom.create(ward.peer.author, "11")
    elsewhere = other.say("elsewhere", origin_server_ts=ward.said[5].origin_server_ts)
    ward.room.events[elsewhere.event_id] = elsewhere
    answers: dict[str, Any] = {
        "further": {"event_id": ward.said[5].event_id, "origin_server_ts": ward.now + HOUR},
        "other direction": {"event_id": ward.said[2].event_id, "origin_server_ts": ward.said[2].origin_server_ts},
        "unknown": {"event_id": "$unknown", "origin_server_ts": ward.said[5].origin_server_ts},
        "nonsense": {"event_id": 5, "origin_server_ts": True},
        "of another room": {"event_id": elsewhere.event_id, "origin_server_ts": elsewhere.origin_server_ts},
    }
    ward.history.alter_time = lambda found: answers[lie]
    for _ in range(3):
        assert (await ward.at(5.4, "f"))["event_id"] == ward.room.joins[0].event_id
    assert ward.asked("timestamp_to_event") == 1, "what did not help is not asked for again soon"


async def test_who_is_not_in_the_room_has_nothing_fetched(ward: Ward) -> None:
    await ward.fill()
    await ward.alice.leave(ward.room.room_id)
    ward.peer.requests.clear()
    await ward.alice.expect(404, "GET", f"rooms/{ward.room.room_id}/context/{ward.said[4].event_id}")
    await ward.at(5.4, "f")
    assert (ward.asked("timestamp_to_event"), ward.asked("event")) == (0, 0)
