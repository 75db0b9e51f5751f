"""An encrypted room in which Alice talks through matrix-nio and Bob through matrix-js-sdk."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from tests.clients.js_person import JsPerson, NodeProcess, new_device, new_person
from tests.clients.nio_person import Person, logged_in, register

MESSAGES_EACH_WAY = 10

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixedRoom:
    """The room, which Bob made and where Alice is by his invitation; the sync loops of both run."""

    room_id: str
    alice: Person
    bob: JsPerson
    base_url: str

    async def talk(self) -> list[str]:
        """Messages in turn, each sent when the one before has been read; their texts in order."""
        said: list[str] = []
        for number in range(1, MESSAGES_EACH_WAY + 1):
            said.append(f"Alice {number}")
            await self.alice.say(self.room_id, said[-1])
            await self.bob.hears(self.room_id, said)
            said.append(f"Bob {number}")
            await self.bob.say(self.room_id, said[-1])
            await self.alice.hears(self.room_id, said)
        return said

    async def plain_room(self) -> str:
        """Another room of the two, in which nothing is encrypted; its room id."""
        room_id: str = (await self.bob.call("createRoom", {"invite": [self.alice.user_id]}))["room_id"]
        await accept_invitation(self.alice, self.bob, room_id)
        return room_id

    def new_device_of_bob(self) -> AbstractAsyncContextManager[JsPerson]:
        """A second device of Bob."""
        return new_device(self.bob.node, self.base_url, self.bob.user_id)


@asynccontextmanager
async def mixed_room(base_url: str, node: NodeProcess) -> AsyncIterator[MixedRoom]:
    """Two fresh accounts in a new room."""
    number = next(_numbers)
    async with AsyncExitStack() as stack:
        alice_id = await register(base_url, f"alice.mixed.{number}")
        alice = await stack.enter_async_context(logged_in(base_url, alice_id, encryption=True))
        await stack.enter_async_context(alice.syncing())
        bob = await stack.enter_async_context(new_person(node, base_url, f"bob.mixed.{number}"))
        room_id: str = await bob.ask("createEncryptedRoom", {"name": "Ward 3", "invite": [alice_id]})
        await accept_invitation(alice, bob, room_id)
        yield MixedRoom(room_id=room_id, alice=alice, bob=bob, base_url=base_url)


async def accept_invitation(alice: Person, bob: JsPerson, room_id: str) -> None:
    """Alice joins a room of Bob, and both see it."""
    await alice.until(lambda: room_id in alice.invitations)
    await alice.call("join", room_id)
    await alice.until(lambda: alice.members(room_id) == {alice.user_id, bob.user_id})
    await bob.shows("members", room_id, expecting=sorted([alice.user_id, bob.user_id]))
