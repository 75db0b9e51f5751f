"""Several readers and several processes that want the same history, and what remains of it."""

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from tests.conftest import Neighbourhood
from tests.services.rooms.remote.backfill.conftest import BACKFILL, Joined, hole_of
from tim_server.services.homeserver import Homeserver
from tim_server.services.rooms.holes import FAILURES_MAX
from tim_server.services.rooms.receive import Incoming
from tim_server.services.rooms.remote.backfill import Backfill
from tim_server.storage.events import load_events_by_id
from tim_server.storage.history_fill import HistoryFill
from tim_server.storage.holes import claim_hole
from tim_server.storage.rebuild import rebuild_derived
from tim_server.storage.room_commit_records import RoomCommit
from tim_server.storage.store import Store

# Several readers, several processes, and what remains


async def test_readers_of_all_processes_share_one_request(
    neighbourhood: Neighbourhood, joined: Joined, backfill: Backfill, store: Store
) -> None:
    for number in range(3):
        joined.room.say(f"{number}")
    await joined.join()
    other = replace(backfill, _running={})
    hole = await hole_of(store, joined)
    deadline = asyncio.get_running_loop().time() + 10
    filled = await asyncio.gather(
        *(each.fill(joined.room.room_id, hole, deadline=deadline) for each in (backfill, other) for _ in range(5))
    )
    assert (filled, joined.asked) == ([True] * 10, 1)
    assert await joined.texts() == ["2", "1", "0"]


async def test_what_a_process_that_was_killed_had_begun_is_taken_up_by_another(
    joined: Joined, backfill: Backfill, store: Store
) -> None:
    joined.room.say("first")
    await joined.join()
    hole = await hole_of(store, joined)
    now_ms = backfill.now_ms()
    async with store.database.transaction() as tx:
        assert await claim_hole(tx, hole, now_ms=now_ms, until_ms=now_ms + 500) is not None
    assert await joined.texts() == ["first"]
    assert backfill.now_ms() >= now_ms + 500


async def test_a_hole_that_cannot_be_filled_is_left_alone_longer_each_time(
    joined: Joined, backfill: Backfill, store: Store
) -> None:
    joined.room.say("first")
    await joined.join()
    joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"] = {"pdus": []}
    backfill.options = replace(backfill.options, pause_s=30.0)
    for _ in range(3):
        assert await joined.page() == []
    assert joined.asked == 1
    first = await hole_of(store, joined)
    async with store.database.transaction() as tx:
        await tx.execute("UPDATE timeline_holes SET due_ts = 0 WHERE room_nid = $1", first.room_nid)
    await joined.page()
    second = await hole_of(store, joined)
    assert (first.failures, second.failures) == (1, 2)
    assert second.due_ts - backfill.now_ms() > 1.5 * (first.due_ts - backfill.now_ms())


SET_FAILURES = "UPDATE timeline_holes SET failures = $2, due_ts = $3 WHERE room_nid = $1"


async def test_after_many_failures_a_hole_bars_nobody_any_longer_before_it_is_tried_again(
    joined: Joined, backfill: Backfill, store: Store
) -> None:
    joined.room.say("first")
    await joined.join()
    joined.peer.answers["GET", f"{BACKFILL}/{joined.room.room_id}"] = {"pdus": []}
    page = await joined.alice.history(joined.room.room_id, from_=joined.start)
    assert page["end"] == joined.start
    hole = await hole_of(store, joined)
    async with store.database.transaction() as tx:
        await tx.execute(SET_FAILURES, hole.room_nid, FAILURES_MAX, backfill.now_ms() + 60_000)
    assert "end" not in await joined.alice.history(joined.room.room_id, from_=joined.start)
    joined.history.serve(joined.peer)  # its server is there again
    async with store.database.transaction() as tx:
        await tx.execute(SET_FAILURES, hole.room_nid, FAILURES_MAX, backfill.now_ms())
    assert await joined.texts() == ["first"]


async def test_where_nobody_is_left_to_ask_a_hole_bars_nobody(joined: Joined, server: Homeserver) -> None:
    joined.room.say("first")
    await joined.join()
    leave = joined.room.member(joined.room.creator, "leave")
    await server.room_sender.queues.submit(joined.room.room_id, Incoming(events=(leave,)))
    assert "end" not in await joined.alice.history(joined.room.room_id, from_=joined.start)
    assert joined.asked == 0


@pytest.mark.parametrize("holds", ["state", "state and messages"])
@pytest.mark.parametrize("comes_first", ["fetched", "sent"])
async def test_what_is_fetched_and_sent_at_the_same_moment_is_told_once(
    joined: Joined, server: Homeserver, store: Store, monkeypatch: pytest.MonkeyPatch, comes_first: str, holds: str
) -> None:
    """Both are decided before either is written: of state events as of outliers, of messages as of new ones."""
    if holds == "state and messages":
        root = joined.room.say("root").event_id
        joined.room.add("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": root, "key": "+"}})
    joined.room.add("m.room.topic", {"topic": "known since the join"}, state_key="")
    await joined.join()
    *sent, _ = joined.room.events.values()
    commit_room, write = store.writer.commit_room, store.writer.write

    async def fetch_first(commit: RoomCommit) -> Any:
        monkeypatch.undo()
        assert joined.room.joins[0].prev_events[0] in await joined.page(limit=100)
        return await commit_room(commit)

    async def send_first(asked: Any) -> Any:
        if isinstance(asked, HistoryFill):
            monkeypatch.undo()
            await server.room_sender.queues.submit(joined.room.room_id, Incoming(events=tuple(sent)))
        return await write(asked)

    if comes_first == "fetched":
        monkeypatch.setattr(store.writer, "commit_room", fetch_first)
        await server.room_sender.queues.submit(joined.room.room_id, Incoming(events=tuple(sent)))
    else:
        monkeypatch.setattr(store.writer, "write", send_first)
        await joined.texts()
    assert (store.writer.commit_room, store.writer.write) == (commit_room, write), "nothing came in between"
    page = await joined.alice.history(joined.room.room_id, limit=100)
    assert sorted(event["event_id"] for event in page["chunk"]) == sorted(joined.room.events)
    assert "end" not in page
    async with store.database.transaction() as tx:
        assert (await rebuild_derived(tx, store.codec)).mended == 0


async def test_what_is_derived_from_events_is_as_if_made_anew(joined: Joined, store: Store) -> None:
    root = joined.room.say("root")
    joined.room.join("@nurse:peer.example")
    joined.room.add("m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": root.event_id, "key": "+"}})
    joined.room.member("@nurse:peer.example", "leave", sender="@nurse:peer.example")
    await joined.join()
    assert await joined.texts() == ["root"]
    async with store.database.transaction() as tx:
        assert (await rebuild_derived(tx, store.codec)).mended == 0


async def test_what_was_fetched_is_given_on_whole(joined: Joined, neighbourhood: Neighbourhood) -> None:
    """Pages are joined: whoever asks this server for history finds no gap between them."""
    joined.history.limit_max = 4
    for number in range(12):
        joined.room.say(f"{number}")
    await joined.join()
    for _ in range(8):
        await joined.texts()
        await asyncio.sleep(0.1)
    join = joined.room.joins[0].event_id
    path = f"{BACKFILL}/{quote(joined.room.room_id)}?v={quote(join)}&limit=100"
    status, answer = await joined.peer.ask("a.example", "GET", path)
    given = [joined.room.read(pdu).event_id for pdu in answer["pdus"]]
    assert (status, given) == (200, [*joined.room.events][::-1])


async def test_state_from_the_join_gets_its_place_in_history(joined: Joined, store: Store) -> None:
    joined.room.say("first")
    await joined.join()
    create = next(iter(joined.room.events))
    async with store.database.connection() as connection:
        outlier = (await load_events_by_id(connection, store.codec, [create]))[create]
    assert (outlier.position, outlier.snapshot) == (None, None)
    await joined.texts()
    async with store.database.connection() as connection:
        placed = (await load_events_by_id(connection, store.codec, [create]))[create]
    assert (placed.nid, placed.snapshot) == (outlier.nid, 0)
    assert placed.minor < 0
    assert (await joined.page(limit=100)).count(create) == 1


async def test_events_of_servers_that_are_not_part_of_the_federation_are_kept_and_hidden(
    neighbourhood: Neighbourhood, joined: Joined, backfill: Backfill, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Gate:
        server_name = backfill.server_name

        async def refused(self, point: object, servers: set[str]) -> set[str]:
            return servers & {"b.example"}

    monkeypatch.setattr(backfill, "fetching", replace(backfill.fetching, gate=Gate()))
    author = neighbourhood.b.process.homeservers[0].federation.client.author
    joined.room.join("@bob:b.example", author=author)
    unlisted = joined.room.say("unlisted", sender="@bob:b.example", author=author)
    joined.room.say("last")
    await joined.join()
    assert await joined.texts() == ["last"]
    async with store.database.connection() as connection:
        row = (await load_events_by_id(connection, store.codec, [unlisted.event_id]))[unlisted.event_id]
    assert (row.soft_failed, row.rejected, row.position) == (True, None, None)
