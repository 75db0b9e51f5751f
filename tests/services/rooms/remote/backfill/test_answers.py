"""What a peer may answer when it is asked for history, and what becomes of it."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from tests.conftest import Neighbourhood
from tests.peer import Asked
from tests.peer_room import PeerRoom
from tests.people import Person
from tests.services.rooms.remote.backfill.conftest import BACKFILL, Joined
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.messages import HistoryQuery

# What does not pass


async def test_an_event_with_a_wrong_signature_is_left_out_and_led_through(joined: Joined) -> None:
    joined.room.say("first")
    forged = joined.room.say("forged")
    joined.room.say("last")
    signature = forged.pdu["signatures"]["peer.example"]

    def forge(pdus: list[Any]) -> list[Any]:
        bad = {key_id: "A" * len(value) for key_id, value in signature.items()}
        return [{**p, "signatures": {"peer.example": bad}} if p == forged.pdu else p for p in pdus]

    joined.history.alter_page = forge
    await joined.join()
    assert await joined.texts() == ["last", "first"]


async def test_an_event_whose_content_is_not_what_was_hashed_is_taken_redacted(joined: Joined) -> None:
    joined.room.say("first")
    altered = joined.room.say("altered")
    joined.history.alter_page = lambda pdus: [
        {**p, "content": {"body": "made up", "msgtype": "m.text"}} if p == altered.pdu else p for p in pdus
    ]
    await joined.join()
    assert await joined.texts() == ["first"]
    assert altered.event_id in await joined.page()


async def test_an_event_that_the_state_before_it_forbids_is_not_shown(joined: Joined) -> None:
    nurse = "@nurse:peer.example"
    joined.room.join(nurse)
    joined.room.say("may", sender=nurse)
    forbidden = joined.room.make("m.room.name", {"name": "Mine"}, sender=nurse, state_key="")
    joined.room.events[forbidden.event_id] = forbidden
    joined.room.before[forbidden.event_id] = dict(joined.room.state)
    joined.room.prev, joined.room.depth = (forbidden.event_id,), forbidden.depth
    last = joined.room.say("last")
    await joined.join()
    assert await joined.texts() == ["last", "may"]
    assert forbidden.event_id not in await joined.page()
    context = await joined.alice.get(f"rooms/{joined.room.room_id}/context/{last.event_id}")
    assert "m.room.name" not in {event["type"] for event in context["state"]}


async def test_an_event_of_somebody_who_was_not_in_the_room_is_not_shown(joined: Joined) -> None:
    joined.room.say("first")
    stranger = joined.room.say("stranger", sender="@stranger:peer.example")
    joined.room.say("last")
    await joined.join()
    assert await joined.texts() == ["last", "first"]
    assert stranger.event_id not in await joined.page()


async def test_events_that_authorise_others_are_fetched(joined: Joined) -> None:
    """Somebody joined, spoke and left: of that nothing is in the state at the join."""
    nurse = "@nurse:peer.example"
    for number in range(3):
        joined.room.join(nurse)
        joined.room.say(f"{number}", sender=nurse)
        joined.room.member(nurse, "leave", sender=nurse)
    joined.history.limit_max = 2
    await joined.join()
    for _ in range(6):
        await joined.texts()
        await asyncio.sleep(0.1)
    assert await joined.texts() == ["2", "1", "0"]


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"pdus": None},
        {"pdus": []},
        {"pdus": [None, 1, "x", [], {}, {"type": "m.room.message"}]},
        {"pdus": [{"type": {}, "content": [], "prev_events": {"a": 1}, "depth": -1}]},
    ],
)
async def test_nonsense_leaves_everything_as_it_was(joined: Joined, answer: Any) -> None:
    joined.room.say("first")
    await joined.join()
    good = joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"]
    joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"] = answer
    assert await joined.page() == []
    joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"] = good
    await asyncio.sleep(0.15)
    assert await joined.texts() == ["first"]


async def test_events_of_another_room_do_not_get_in(joined: Joined) -> None:
    other = PeerRoom.create(joined.peer.author, "11")
    elsewhere = other.say("elsewhere")
    joined.room.say("here")
    joined.history.alter_page = lambda pdus: [elsewhere.pdu, *pdus]
    await joined.join()
    assert await joined.texts() == ["here"]
    assert elsewhere.event_id not in await joined.page(limit=100)


async def test_an_event_that_leads_into_another_room_is_a_dead_end(joined: Joined) -> None:
    """The join names an event as before it that is of another room."""
    other = PeerRoom.create(joined.peer.author, "11")
    elsewhere = other.say("elsewhere")
    joined.room.prev = (elsewhere.event_id,)
    joined.room.events[elsewhere.event_id] = elsewhere
    joined.room.before[elsewhere.event_id] = {}
    joined.room.say("last")
    await joined.join()
    page = await joined.alice.history(joined.room.room_id, from_=joined.start)
    assert [event["content"]["body"] for event in page["chunk"]] == ["last"]
    assert "end" not in page


async def test_redactions_count_as_far_as_their_senders_may_redact(joined: Joined) -> None:
    nurse = "@nurse:peer.example"
    joined.room.join(nurse)
    kept = joined.room.say("kept")
    own = joined.room.say("own", sender=nurse)
    allowed = joined.room.add("m.room.redaction", {"redacts": own.event_id}, sender=nurse)
    of_power = joined.room.add("m.room.redaction", {"redacts": "$unknown"})
    senseless = joined.room.add("m.room.redaction", {"redacts": "$unknown"}, sender=nurse)
    await joined.join()
    shown = await joined.page(limit=100)
    assert await joined.texts() == ["kept"]
    assert {kept.event_id, own.event_id, allowed.event_id, of_power.event_id} <= {*shown}
    assert senseless.event_id not in shown


# Answers that never end


async def test_the_same_page_again_and_again_is_refused(joined: Joined) -> None:
    joined.history.limit_max = 5
    for number in range(20):
        joined.room.say(f"{number}")
    await joined.join()
    first: list[Any] = []

    def repeat(pdus: list[Any]) -> list[Any]:
        first[:] = first or pdus
        return first

    joined.history.alter_page = repeat
    for _ in range(5):
        page = await joined.page(limit=100)
        await asyncio.sleep(0.1)
    assert len(page) == 5
    assert joined.asked < 20


async def test_one_reader_has_few_pages_fetched_of_a_history_without_end(joined: Joined) -> None:
    joined.history.limit_max = 1
    for number in range(50):
        joined.room.say(f"{number}")
    await joined.join()
    await joined.page(limit=100)
    await asyncio.sleep(0.3)
    assert joined.asked <= 4


async def test_more_events_than_were_asked_for_are_not_looked_at(joined: Joined) -> None:
    for number in range(150):
        joined.room.say(f"{number}")
    joined.history.alter_page = lambda pdus: [event.pdu for event in joined.room.events.values()][-2::-1]
    await joined.join()
    assert len(await joined.page(limit=1000)) == 100


async def test_events_that_lead_back_to_themselves_are_refused(neighbourhood: Neighbourhood, alice: Person) -> None:
    joined = Joined(neighbourhood, alice, "1")
    joined.room.say("first")
    second = joined.room.make("m.room.message", {"body": "second", "msgtype": "m.text"})
    joined.room.take(joined.room.make("m.room.message", {"body": "a"}, prev_events=(second.event_id,)))
    first_of_circle = joined.room.prev[0]
    circle = joined.room.make("m.room.message", {"body": "b"}, prev_events=(first_of_circle,), event_id=second.event_id)
    joined.room.take(circle)
    await joined.join()
    assert await joined.page() == []
    assert joined.asked <= 5


async def test_forged_depth_does_not_change_the_order(joined: Joined) -> None:
    joined.room.say("first", depth=2**40)
    joined.room.say("second", depth=1)
    joined.room.say("third", depth=7)
    await joined.join()
    assert await joined.texts() == ["third", "second", "first"]


async def test_an_event_that_names_thousands_is_bounded(joined: Joined) -> None:
    joined.room.say("first")
    joined.room.prev = (*joined.room.prev, *(f"$unknown{number}" for number in range(1_000)))  # type: ignore[assignment]
    joined.room.say("wide")
    joined.room.prev = joined.room.prev[:1]
    joined.room.say("last")
    await joined.join()
    assert (await joined.texts())[:1] == ["last"]


async def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_a_reader_would(
    joined: Joined, server: Homeserver
) -> None:
    joined.room.say("first")
    await joined.join()
    may_come = asyncio.Event()
    good: Any = joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"]

    async def slow(asked: Asked) -> Any:
        await may_come.wait()
        return await good(asked)

    joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"] = slow
    impatient = replace(server.room_history, fill_wait_s=0.2)
    requester = await server.authenticator.requester(joined.alice.token)
    query = HistoryQuery(backwards=True, limit=10, start=joined.start)
    page = await impatient.page(requester, joined.room.room_id, query)
    assert (page.chunk, page.end) == ([], joined.start)
    may_come.set()  # what was begun goes on, and is there for who comes again
    assert await joined.texts() == ["first"]
    assert joined.asked == 1
