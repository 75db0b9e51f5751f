"""Joining rooms of another server that answers too much, or too slowly."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from tests.conftest import Neighbourhood
from tests.joining import refused, served_room
from tests.peer import Asked
from tests.peer_room import FEDERATION
from tests.people import Person
from tim_server.services.rooms.remote.join import RemoteJoin


async def test_more_events_than_allowed_are_refused_before_they_have_come(
    neighbourhood: Neighbourhood, alice: Person, remote: RemoteJoin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "answers", replace(remote.answers, events_max=1_000))
    room = served_room(neighbourhood)
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        event = b'{"type":"m.room.message","content":{"body":"' + b"x" * 900 + b'"}}'
        yield b'{"state":[' + event
        while True:
            yield b"," + event
            sent += 1
            await asyncio.sleep(0)  # or who writes faster than the connection's end is noticed fills all memory

    room.alter = lambda _: web.Response(body=endless())
    await refused(alice, room)
    assert sent < 100_000


async def test_an_answer_that_never_ends_is_not_waited_for(
    neighbourhood: Neighbourhood, alice: Person, remote: RemoteJoin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "answers", replace(remote.answers, timeout_s=0.3))
    room = served_room(neighbourhood)

    async def slow(asked: Asked) -> Any:
        await asyncio.sleep(5)
        return {}

    neighbourhood.peer.answers["PUT", f"{FEDERATION}/v2/send_join/{room.room_id}/*"] = slow
    started = time.monotonic()
    await refused(alice, room)
    assert time.monotonic() - started < 4


async def test_a_server_that_takes_no_join_back_is_not_waited_for(
    neighbourhood: Neighbourhood, alice: Person, remote: RemoteJoin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "take_back_s", 0.2)
    room = served_room(neighbourhood)
    room.alter = lambda answer: {**answer, "state": []}
    asked = asyncio.Event()

    async def slow(question: Asked) -> Any:
        asked.set()
        await asyncio.sleep(15)
        return {}

    neighbourhood.peer.answers["GET", f"{FEDERATION}/v1/make_leave/{room.room_id}/*"] = slow
    async with asyncio.timeout(10):
        await refused(alice, room)
    assert asked.is_set()


async def test_a_hundred_thousand_events_that_are_none_cost_a_bounded_time(
    neighbourhood: Neighbourhood, alice: Person
) -> None:
    room = served_room(neighbourhood)
    junk = b",".join([b'{"type":"m.room.member","state_key":"x","sender":"@a:b","content":{}}'] * 99_000)
    room.alter = lambda _: web.Response(body=b'{"state":[' + junk + b'],"auth_chain":[]}')
    started = time.monotonic()
    await refused(alice, room)
    assert time.monotonic() - started < 30
