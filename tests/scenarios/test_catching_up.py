"""A hospital that was down while others talked: it comes to know all of it, in order, also where the others did not
keep all that it is owed.

Spec: https://spec.matrix.org/v1.19/server-server-api/#backfilling-and-retrieving-missing-events
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from tests.eventually import eventually
from tests.people import Person
from tests.scenarios.clinics import Clinics, run_clinics, seen

A, B = NAMES = ("a.example", "b.example")
OWED_MAX = 100
PAGE = 60


@pytest.fixture(scope="module")
async def clinics(
    make_tenant_dsn: Callable[[], Awaitable[str]], tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Clinics]:
    dsns = [await make_tenant_dsn() for _ in NAMES]
    folder = tmp_path_factory.mktemp("clinics")
    async with run_clinics(NAMES, dsns, folder, outbox_events_max=OWED_MAX) as clinics:
        yield clinics


async def all_seen(person: Person, room_id: str, start: str | None = None) -> list[str]:
    """The ids of all events of the room back from a token, oldest first; each page leads to another one."""
    ids: list[str] = []
    while True:
        page: Any = await person.history(room_id, from_=start, limit=PAGE)
        ids += [event["event_id"] for event in page["chunk"]]
        if "end" not in page:
            return ids[::-1]
        assert page["end"] != start
        start = page["end"]


async def missed(clinics: Clinics, count: int, *, is_shortened: bool) -> None:
    """B is down while so many events happen; then it is back, and what must hold then."""
    alice, anna, bob = await clinics[A].person(), await clinics[A].person(), await clinics[B].person()
    rooms = [await alice.create_room() for _ in range(2)]
    for room_id in rooms:
        await anna.join(room_id)
        await bob.join(room_id, A)
    sync = await bob.get("sync")
    await clinics.go_down(B)
    said: dict[str, list[str]] = {room_id: [] for room_id in rooms}
    for number in range(count // 4):
        for room_id in rooms:
            said[room_id] += [await person.say(room_id, f"message {number}") for person in (alice, anna)]
    for room_id in rooms:
        said[room_id].append(await alice.set_state(room_id, "m.room.topic", {"topic": "Welcome back"}))
    if is_shortened:
        await clinics[A].process.homeservers[0].sending.shorten()
    await clinics.come_up(B)
    bob = clinics.back(bob)
    for room_id in rooms:
        last = said[room_id][-1]
        await eventually(lambda: seen(bob, room_id, limit=5), lambda ids: last in ids, 60.0)  # noqa: B023
        assert [e for e in await all_seen(bob, room_id) if e in said[room_id]] == said[room_id]
        assert await bob.state(room_id, "m.room.topic") == {"topic": "Welcome back"}
    told = (await bob.get("sync", since=sync["next_batch"]))["rooms"]["join"]
    for room_id in rooms:
        timeline = told[room_id]["timeline"]
        events = [event["event_id"] for event in timeline["events"]]
        assert timeline["limited"] and events == said[room_id][-len(events) :]
        assert await all_seen(bob, room_id, timeline["prev_batch"]) == await all_seen(
            alice, room_id, await token_before(alice, room_id, events[0])
        )
        answer = await bob.say(room_id, "I am back")
        await eventually(lambda: seen(alice, room_id, limit=5), lambda ids: answer in ids)  # noqa: B023


async def token_before(person: Person, room_id: str, event_id: str) -> str:
    """The token from which a page goes back to what is before an event."""
    return str((await person.get(f"rooms/{room_id}/context/{event_id}", limit=0))["start"])


@pytest.mark.parametrize("count", [160, pytest.param(1_000, marks=pytest.mark.long)])
async def test_who_was_down_gets_all_that_waits_for_it(clinics: Clinics, count: int) -> None:
    await missed(clinics, count, is_shortened=False)


@pytest.mark.parametrize("count", [160, 600, pytest.param(2_000, marks=pytest.mark.long)])
async def test_who_was_down_for_longer_than_is_kept_asks_for_what_it_missed(clinics: Clinics, count: int) -> None:
    """In each room, a gap that is filled at once, or one that is so wide that readers have it filled."""
    await missed(clinics, count, is_shortened=True)
