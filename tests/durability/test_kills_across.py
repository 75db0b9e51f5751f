"""SIGKILL of two servers that federate, at random moments of a conversation: nothing is lost or doubled on the way, and
what somebody says arrives in the order in which they said it."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest

from tests.durability.across import config_in
from tests.durability.api import Account, Api, make_session
from tests.durability.form import LIFE_S, MESSAGES_ACROSS
from tests.durability.listener import Listener
from tests.durability.load import ROOM_ORDER
from tests.durability.site import Site, run_site
from tests.eventually import eventually
from tests.hospitals import Network

pytestmark = pytest.mark.long

NAMES = ("north.example", "south.example")
ARRIVAL_TIMEOUT_S = 180.0


@dataclass(kw_only=True)
class Side:
    """A server, those who speak there, and somebody who listens."""

    site: Site
    speakers: list[Account]
    listener: Listener


@dataclass(kw_only=True)
class Conversation:
    """A room of both sides. `said` are the event ids that were acknowledged, by speaker, in order."""

    sides: list[Side]
    room_id: str
    said: dict[str, list[str]] = field(default_factory=dict)
    kills: int = 0

    async def speak(self, speaker: Account, count: int) -> None:
        """Say so much, each as soon as the last is acknowledged."""
        said = self.said.setdefault(speaker.user_id, [])
        for number in range(count):
            said.append(await speaker.send(self.room_id, f"{speaker.user_id} {number}"))

    async def kill_at_random(self) -> None:
        """Kill one side after the other, until cancelled."""
        while True:
            await asyncio.sleep(random.uniform(*LIFE_S) * 3)
            site = random.choice(self.sides).site
            await asyncio.shield(self._restart(site))

    async def _restart(self, site: Site) -> None:
        await site.kill()
        self.kills += 1
        await site.start()

    async def order_at(self, side: Side) -> list[str]:
        """The events of the room in their order, as a side has stored them."""
        return [row["event_id"] for row in await side.site.fetch(ROOM_ORDER, self.room_id)]

    async def arrived(self) -> None:
        """Wait until both sides have everything, and the listeners were told."""
        everything = {event_id for said in self.said.values() for event_id in said}
        for side in self.sides:
            await eventually(partial(self.order_at, side), lambda order: everything <= set(order), ARRIVAL_TIMEOUT_S)
            await eventually(partial(self._heard_at, side), lambda heard: everything <= set(heard), ARRIVAL_TIMEOUT_S)

    async def _heard_at(self, side: Side) -> list[str]:
        side.listener.check()
        return side.listener.timelines[self.room_id]

    async def judge(self) -> None:
        """What must hold then."""
        for side in self.sides:
            order = await self.order_at(side)
            heard = side.listener.timelines[self.room_id]
            for told, where in ((order, "stored"), (heard, "heard")):
                twice = [event_id for event_id, count in Counter(told).items() if count > 1]
                assert not twice, f"{where} twice at {side.site.folder.name}: {twice}"
                for speaker, said in self.said.items():
                    wanted = set(said)
                    assert [event_id for event_id in told if event_id in wanted] == said, (
                        f"what {speaker} said is {where} in another order at {side.site.folder.name}"
                    )
            history = await side.speakers[0].history(self.room_id)
            bodies = Counter(event["content"].get("body") for event in history if event["type"] == "m.room.message")
            assert set(bodies.values()) == {1}, "a message became two events"


@pytest.fixture
async def conversation(open_tmp_path: Path) -> AsyncIterator[Conversation]:
    """Two servers with a PostgreSQL each, and a room that people of both are in."""
    folder = open_tmp_path / "across"
    folder.mkdir(mode=0o711)
    network = Network.of(folder, NAMES)
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(make_session())
        sides = []
        for name in NAMES:
            site = await stack.enter_async_context(run_site(folder / name, config=partial(config_in, network, name)))
            api = Api(session=session, base_url=site.base_url)
            speakers = [await api.register(f"speaker{number}") for number in range(3)]
            listener = Listener(account=await speakers[0].log_in(), timeline_limit=10)
            sides.append(Side(site=site, speakers=speakers, listener=listener))
        creator = sides[0].speakers[0]
        room_id = await creator.create_room()
        for side in sides:
            for speaker in side.speakers:
                await speaker.join(room_id, via=NAMES[0])
            await side.listener.step(timeout_ms=0)
            side.listener.start()
        yield Conversation(sides=sides, room_id=room_id)
        for side in sides:
            await side.listener.abandon()


async def test_both_servers_are_killed_while_people_of_both_talk(conversation: Conversation) -> None:
    speakers = [speaker for side in conversation.sides for speaker in side.speakers]
    killing = asyncio.create_task(conversation.kill_at_random())
    each = MESSAGES_ACROSS // len(speakers)
    await asyncio.gather(*(conversation.speak(speaker, each) for speaker in speakers))
    killing.cancel()
    await asyncio.gather(killing, return_exceptions=True)
    for side in conversation.sides:
        if side.site.process is None:
            await side.site.start()
        await side.site.wait_until_ready()
    await conversation.arrived()
    await conversation.judge()
    print(f"\n{each * len(speakers)} messages, {conversation.kills} kills of two servers")
