"""Gaps before events that were received are closed, or the room goes on behind them."""

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.eventually import eventually
from tests.peer import make_author
from tests.peer_history import V1
from tests.services.rooms.remote.missing.conftest import Gap
from tim_server.matrix.canonical_json import encode_relaxed
from tim_server.matrix.identifiers import ServerName
from tim_server.storage.holes import find_newest_hole

VERSIONS = [str(number) for number in range(1, 13)]


@pytest.mark.parametrize("version", VERSIONS)
async def test_events_that_lack_are_fetched_in_every_version(neighbourhood: Neighbourhood, version: str) -> None:
    gap = await Gap.open(neighbourhood, version)
    lost = gap.lose(3)
    last = gap.room.say("after them")
    assert await gap.send(last) == {last.event_id: {}}
    assert await gap.sees("after them") == ["lost 0", "lost 1", "lost 2", "after them"]
    assert (await gap.head()).extremities[-1][1] == last.event_id
    (asked,) = gap.peer.asked(f"{V1}/get_missing_events/")
    assert asked.json["latest_events"] == [last.event_id]
    assert asked.json["earliest_events"] == [gap.room.joins[0].event_id]
    assert gap.asked("state_ids") == 0
    assert all(row is not None and row.position for row in [await gap.row(event) for event in lost])


async def test_longer_gaps_take_several_rounds(gap: Gap) -> None:
    gap.lose(100)
    await gap.send(gap.room.say("after them"))
    await gap.sees("after them")
    assert gap.asked("get_missing_events") == 5
    assert gap.asked("state_ids") == 0
    assert len(await gap.alice.bodies(gap.room.room_id, limit=200)) >= 101


@pytest.mark.parametrize("version", ["1", "6", "11", "12"])
async def test_where_too_much_lacks_the_state_is_asked_for_and_the_rest_can_be_paged_to(
    neighbourhood: Neighbourhood, version: str
) -> None:
    gap = await Gap.open(neighbourhood, version)
    lost = gap.lose(100, "old")
    gap.room.add("m.room.topic", {"topic": "meanwhile"}, state_key="")
    gap.lose(300)
    last = gap.room.say("after them")
    await gap.send(last)
    await gap.sees("after them")
    assert gap.asked("state_ids") == 1
    status, topic = await gap.alice.request("GET", f"rooms/{gap.room.room_id}/state/m.room.topic")
    assert (status, topic) == (200, {"topic": "meanwhile"})
    async with gap.store.database.read() as tx:
        head = await gap.head()
        hole = await find_newest_hole(tx, head.nid, after=(0, 0), until=(2**60, 0), failures_max=9)
    assert hole is not None and hole.minor == 0
    assert len(gap.peer.requests) < 60
    seen: list[str] = []
    since: dict[str, str] | None = {}
    while since is not None and len(seen) < 401:
        page = await gap.alice.history(gap.room.room_id, limit=200, **since)
        seen += [event["content"]["body"] for event in page["chunk"] if event["type"] == "m.room.message"]
        since = {"from_": page["end"]} if "end" in page else None
    wanted = ["after them", *(f"lost {n}" for n in range(299, -1, -1)), *(f"old {n}" for n in range(99, -1, -1))]
    assert seen[:401] == wanted
    assert await gap.row(lost[0]) is not None


async def test_an_event_on_both_sides_of_a_gap_has_the_state_of_both(gap: Gap) -> None:
    known = gap.room.add("m.room.topic", {"topic": "known"}, state_key="")
    await gap.send(known)
    gap.room.prev, gap.room.depth = (gap.room.joins[0].event_id,), gap.room.joins[0].depth
    del gap.room.state["m.room.topic", ""]
    gap.history.limit_max = 1
    gap.lose(2)
    gap.room.add("m.room.name", {"name": "lost"}, state_key="")
    gap.lose(1)
    gap.room.prev = (*gap.room.prev, known.event_id)
    await gap.send(gap.room.say("both"))
    await gap.sees("both")
    assert (await gap.alice.get(f"rooms/{gap.room.room_id}/state/m.room.topic"))["topic"] == "known"
    assert (await gap.alice.get(f"rooms/{gap.room.room_id}/state/m.room.name"))["name"] == "lost"


async def test_what_comes_while_events_wait_is_taken_in_as_well(gap: Gap) -> None:
    gap.lose(1)
    first, second = gap.room.say("first"), gap.room.say("second")
    assert await gap.send(second) == {second.event_id: {}}
    assert await gap.send(first) == {first.event_id: {}}
    assert (await gap.sees("second", "first"))[-3:] == ["lost 0", "first", "second"]
    await gap.nothing_waits()


async def test_events_wait_until_the_server_can_be_asked(gap: Gap) -> None:
    missing = gap.peer.answers.pop(("POST", f"{V1}/get_missing_events/{gap.room.room_id}"))
    gap.peer.answers["POST", f"{V1}/get_missing_events/{gap.room.room_id}"] = web.Response(status=503)
    gap.lose(1)
    await gap.send(gap.room.say("after it"))
    assert await gap.count() == 1
    gap.peer.answers["POST", f"{V1}/get_missing_events/{gap.room.room_id}"] = missing
    assert (await gap.sees("after it"))[-2:] == ["lost 0", "after it"]
    await gap.nothing_waits()


@pytest.mark.parametrize("status", [403, 404])
async def test_events_wait_where_their_server_does_not_help_because_it_has_left(gap: Gap, status: int) -> None:
    """What lies before them may be on its way from others."""
    path = f"{V1}/get_missing_events/{gap.room.room_id}"
    gap.peer.answers["POST", path] = web.json_response({"errcode": "M_FORBIDDEN", "error": "Gone"}, status=status)
    (before,) = gap.lose(1)
    await gap.send(gap.room.say("after it"))
    await eventually(lambda: asked_for(gap, 2))
    await gap.send(before)
    assert (await gap.sees("after it"))[-2:] == ["lost 0", "after it"]
    await gap.nothing_waits()


async def test_events_wait_where_their_server_does_not_know_the_state_before_them(gap: Gap) -> None:
    """As one that came into the room with the event on which they stand."""
    gap.history.limit_max = 1
    path = f"{V1}/state_ids/{gap.room.room_id}"
    gap.peer.answers["GET", path] = web.json_response({"errcode": "M_NOT_FOUND", "error": "Not here"}, status=404)
    before = gap.lose(3)
    await gap.send(gap.room.say("after them"))
    await eventually(lambda: asked_for(gap, 2))
    assert gap.asked("state_ids") > 0
    await gap.send(*before)
    await gap.sees("lost 0", "lost 1", "lost 2", "after them")
    await gap.nothing_waits()


async def asked_for(gap: Gap, times: int) -> bool:
    """Whether missing events were asked for so often."""
    return gap.asked("get_missing_events") >= times


async def test_what_a_server_does_not_tell_is_asked_for_again_with_the_next_event(gap: Gap) -> None:
    gap.history.alter_missing = lambda pdus: []
    gap.lose(1)
    untold = gap.room.say("untold")
    await gap.send(untold)
    await gap.nothing_waits()
    assert gap.asked("state_ids") == 0 and await gap.row(untold) is None
    gap.history.alter_missing = lambda pdus: pdus
    await gap.send(gap.room.say("told"))
    assert (await gap.sees("told"))[-3:] == ["lost 0", "untold", "told"]


async def test_an_outlier_that_lies_in_the_gap_gets_its_place(gap: Gap) -> None:
    topic = gap.room.add("m.room.topic", {"topic": "first an outlier"}, state_key="")
    await gap.fetch(topic)
    row = await gap.row(topic)
    assert row is not None and row.position is None
    await gap.send(gap.room.say("on it"))
    await gap.sees("on it")
    placed = await gap.row(topic)
    assert placed is not None and placed.position is not None and placed.nid == row.nid
    assert (await gap.alice.get(f"rooms/{gap.room.room_id}/state/m.room.topic"))["topic"] == "first an outlier"


async def test_auth_events_that_lack_are_fetched_by_themselves(gap: Gap) -> None:
    levels = {"users": {str(gap.room.creator): 100}, "events_default": 0}
    beside = gap.room.make("m.room.power_levels", levels, state_key="")
    gap.room.events[beside.event_id] = beside
    gap.room.before[beside.event_id] = dict(gap.room.state)
    cited = [e.event_id for key, e in gap.room.state.items() if key[0] in ("m.room.create", "m.room.member")][:2]
    message = gap.room.say("cites it", auth_events=(*cited, beside.event_id))
    assert await gap.send(message) == {message.event_id: {}}
    await gap.sees("cites it")
    assert gap.asked("event") == 1
    row = await gap.row(beside)
    assert row is not None and row.position is None


async def test_an_event_on_one_whose_server_is_gone_is_taken_in(gap: Gap) -> None:
    """Its keys can't be had: it counts for nothing, but it bars nobody who has seen it."""
    gone = make_author("gone.example", 9)
    join = gap.room.join("@clerk:gone.example", author=gone)
    assert "error" in (await gap.send(join))[join.event_id]
    await gap.send(gap.room.say("on it"))
    await gap.sees("on it")
    assert await gap.row(join) is None and gap.asked("state_ids") == 1
    assert ("m.room.member", "@clerk:gone.example") not in (await gap.head()).state


async def test_an_event_that_another_server_has_forged_before_does_not_keep_it_out(gap: Gap) -> None:
    """What a slow room could not look at is kept unchecked."""
    gap.lose(1)
    last = gap.room.say("as it was signed")
    forged = {last.event_id: encode_relaxed({**last.pdu, "signatures": {}})}
    await gap.waiting.keep(await gap.head(), ServerName("spare.example"), forged)
    assert await gap.send(last) == {last.event_id: {}}
    await gap.sees("as it was signed")
