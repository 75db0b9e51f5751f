"""SIGKILL of a server while it joins a room of another, or lets somebody in: the room is joined as a whole or not at
all, and the next attempt brings the user in."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.durability.across import config_in
from tests.durability.api import Account, Api, Away, make_session
from tests.durability.form import KILLS
from tests.durability.site import Site, run_site
from tests.eventually import eventually
from tests.hospitals import Network

pytestmark = pytest.mark.long

NAMES = ("north.example", "south.example")
BANNED = 1_300
"""So many member events make a state that takes several commits to store, and several to set."""
PATIENCE_S = 120.0
WHAT_IS_KNOWN = """
SELECT r.forward_extremities <> '{}' AS entered,
       (SELECT count(*) FROM current_state AS s WHERE s.room_nid = r.nid) AS state,
       (SELECT count(*) FROM events AS e WHERE e.room_nid = r.nid) AS events,
       EXISTS (
           SELECT FROM memberships AS m WHERE m.room_nid = r.nid AND m.user_id = $2 AND m.membership = 'join'
       ) AS mine
FROM rooms AS r WHERE r.room_id = $1
"""


@dataclass(kw_only=True)
class Meeting:
    """Alice at one server, Bob at another."""

    north: Site
    south: Site
    alice: Account
    bob: Account

    async def large_room(self) -> str:
        """A room of Alice's with a large state."""
        room_id = await self.alice.create_room()
        places = asyncio.Semaphore(16)

        async def ban(number: int) -> None:
            path = f"/rooms/{quote(room_id)}/state/m.room.member/{quote(f'@nobody{number}:{NAMES[0]}')}"
            async with places:
                await self.alice.api.insist(self.alice.token, "PUT", path, {"membership": "ban"})

        await asyncio.gather(*(ban(number) for number in range(BANNED)))
        return room_id

    async def join(self, room_id: str) -> float:
        """Have Bob join, again and again until he is in; how long the last attempt took."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(PATIENCE_S):
            while True:
                began = loop.time()
                try:
                    status, answer = await self.bob.api.request(
                        self.bob.token, "POST", f"/join/{quote(room_id)}", {}, via=NAMES[0]
                    )
                    if status == 200:
                        return loop.time() - began
                    assert status in (502, 503), (status, answer)
                except Away:
                    pass
                await asyncio.sleep(0.1)

    async def check_whole_or_not(self, room_id: str) -> str:
        """What the south knows of a room: nothing that anybody sees, or all of it. What was found."""
        rows = await self.south.fetch(WHAT_IS_KNOWN, room_id, self.bob.user_id)
        if not rows:
            return "unknown"
        (row,) = rows
        assert row["entered"] == row["mine"]
        assert row["state"] > BANNED or not row["entered"]
        if row["entered"]:
            return "entered"
        return "in steps" if row["state"] else "stored" if row["events"] else "known"

    async def agree(self, room_id: str) -> None:
        """Both servers have the same state, and hear of each other."""
        said = [await each.send(room_id, f"{room_id} {each.user_id}") for each in (self.alice, self.bob)]

        async def look() -> tuple[Any, ...]:
            states = [await self._state(each, room_id) for each in (self.alice, self.bob)]
            heard = [
                {event["event_id"] for event in (await each.page(room_id, dir="b", limit=10))["chunk"]}
                for each in (self.alice, self.bob)
            ]
            return states[0] == states[1], all(set(said) <= each for each in heard)

        await eventually(look, all, PATIENCE_S)

    async def _state(self, account: Account, room_id: str) -> set[str]:
        state = await account.api.insist(account.token, "GET", f"/rooms/{quote(room_id)}/state")
        return {event["event_id"] for event in state}


@pytest.fixture
async def meeting(open_tmp_path: Path) -> AsyncIterator[Meeting]:
    folder = open_tmp_path / "joins"
    folder.mkdir(mode=0o711)
    network = Network.of(folder, NAMES)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(make_session())
        sites = [
            await stack.enter_async_context(run_site(folder / name, config=partial(config_in, network, name)))
            for name in NAMES
        ]
        people = [
            await Api(session=session, base_url=site.base_url).register(name)
            for site, name in zip(sites, ("alice", "bob"), strict=True)
        ]
        yield Meeting(north=sites[0], south=sites[1], alice=people[0], bob=people[1])


async def test_servers_are_killed_at_every_stage_of_joins(meeting: Meeting) -> None:
    usual_s = await meeting.join(await meeting.large_room())
    found: list[str] = []
    for number in range(KILLS):
        room_id = await meeting.large_room()
        joining = asyncio.create_task(meeting.join(room_id))
        site = meeting.north if number % 4 == 3 else meeting.south
        await asyncio.sleep(random.uniform(0, usual_s))
        await site.kill()
        if number % 3 == 2:  # as if the machine had failed
            site.kill_all_of_postgres()
        await site.start()
        if site is meeting.south:
            found.append(await meeting.check_whole_or_not(room_id))
        await joining
        assert await meeting.check_whole_or_not(room_id) == "entered"
        await meeting.agree(room_id)
    print(f"\n{KILLS} kills in joins of {usual_s:.2f} s; what was found then: {sorted(found)}")
