"""An encrypted conversation of people at two hospitals, of which one runs as two processes, with matrix-nio: what is
said is read on each device of those in the room, on new ones from then on, and is not meant for those that are gone."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.durability.across import config_in
from tests.durability.site import Site, run_site
from tests.hospitals import Network

if TYPE_CHECKING:
    from tests.clients.nio_person import Person

pytestmark = pytest.mark.external

NORTH, SOUTH = "north.example", "south.example"
WORKERS = {NORTH: 1, SOUTH: 2}
ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


@pytest.fixture(scope="module")
async def sites(open_tmp_path: Path) -> AsyncIterator[dict[str, Site]]:
    pytest.importorskip("vodozemac", reason="needs matrix-nio with encryption: pip install -e '.[external]'")
    folder = open_tmp_path / "encrypted"
    folder.mkdir(mode=0o711)
    network = Network.of(folder, [*WORKERS])
    async with AsyncExitStack() as stack:
        running = {
            name: run_site(folder / name, worker_count=count, config=partial(config_in, network, name))
            for name, count in WORKERS.items()
        }
        yield {name: await stack.enter_async_context(site) for name, site in running.items()}


@dataclass
class Talk:
    """An encrypted room of Alice's and Bob's, who know each other's devices, and what was said in it."""

    alice: "Person"
    bob: "Person"
    bob_site: Site
    room_id: str
    said: list[str]

    async def say(self, speaker: "Person", *listeners: "Person") -> None:
        """Say something that each of the listeners reads, who were there for all that was said, and no server."""
        self.said.append(f"{len(self.said)} from {speaker.user_id}")
        await speaker.say(self.room_id, self.said[-1])
        for listener in listeners:
            await listener.hears(self.room_id, self.said)
            events = listener.timelines[self.room_id]
            assert all(event.decrypted for event in events if event.source["type"] == "m.room.message")


@asynccontextmanager
async def talking(sites: dict[str, Site], home: str) -> AsyncIterator[Talk]:
    """Alice, at the hospital of this name, and Bob, at the other one, whom she has invited."""
    from tests.clients.nio_person import logged_in, register

    here, there = sites[home], sites[SOUTH if home == NORTH else NORTH]
    alice_id = await register(here.base_url, f"alice.{home}")
    bob_id = await register(there.base_url, f"bob.{home}")
    async with (
        logged_in(here.base_url, alice_id, encryption=True) as alice,
        logged_in(there.base_url, bob_id, encryption=True) as bob,
        alice.syncing(full_state=True),
        bob.syncing(full_state=True),
    ):
        room_id = (await alice.call("room_create", initial_state=[ENCRYPTION], invite=[bob.user_id])).room_id
        await bob.until(lambda: room_id in bob.invitations)
        await bob.call("join", room_id)
        for one, other in ((alice, bob), (bob, alice)):
            await one.until(lambda: other.user_id in one.members(room_id))  # noqa: B023
            await one.until(lambda: one.knows_device(other.user_id, other.device_id))  # noqa: B023
        yield Talk(alice, bob, there, room_id, [])


@pytest.mark.parametrize("home", [NORTH, SOUTH])
async def test_people_of_two_hospitals_read_each_other_on_all_of_their_devices(
    sites: dict[str, Site], home: str
) -> None:
    from tests.clients.nio_person import logged_in

    async with talking(sites, home) as talk:
        alice, bob = talk.alice, talk.bob
        for _ in range(5):
            await talk.say(alice, bob, alice)
            await talk.say(bob, alice, bob)
        async with logged_in(talk.bob_site.base_url, bob.user_id, encryption=True) as phone:
            async with phone.syncing(full_state=True):
                for other in (alice, bob):
                    await other.until(lambda: other.knows_device(phone.user_id, phone.device_id))  # noqa: B023
                await phone.until(lambda: phone.knows_device(alice.user_id, alice.device_id))
                since = len(talk.said)
                await talk.say(alice, bob, alice)
                await phone.until(lambda: phone.heard(talk.room_id) == talk.said[since:])
                await talk.say(phone, alice, bob)
                await talk.say(bob, alice, bob)
                await phone.until(lambda: phone.heard(talk.room_id) == talk.said[since:])
            await phone.call("logout")
        for other in (alice, bob):
            await other.until(lambda: not other.knows_device(phone.user_id, phone.device_id))  # noqa: B023
        await talk.say(alice, bob, alice)
        await talk.say(bob, alice, bob)
