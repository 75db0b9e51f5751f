"""Conversations through matrix-nio, a client library in Python that bots and bridges are made with."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.clients.server_process import RunningServer

if TYPE_CHECKING:
    from tests.clients.nio_person import Person

pytestmark = pytest.mark.external

MESSAGES_EACH_WAY = 10
PAGE_SIZE = 7

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting:
    """A room that Alice made, where Bob is by her invitation; the sync loops of both run."""

    room_id: str
    alice: "Person"
    bob: "Person"

    async def talk(self) -> list[str]:
        """Messages in turn, each sent when the one before has arrived; their texts in order."""
        said: list[str] = []
        for number in range(1, MESSAGES_EACH_WAY + 1):
            for speaker, listener, name in ((self.alice, self.bob, "Alice"), (self.bob, self.alice, "Bob")):
                said.append(f"{name} {number}")
                await speaker.say(self.room_id, said[-1])
                await listener.hears(self.room_id, said)
        return said


@pytest.fixture(autouse=True)
def needs_nio() -> None:
    """The library is not among what the quick tests need."""
    pytest.importorskip("nio", reason="needs matrix-nio: pip install -e '.[external]'")


@pytest.fixture
async def people(running_server: RunningServer) -> AsyncIterator[tuple["Person", "Person"]]:
    """Alice and Bob with fresh accounts, logged in."""
    from tests.clients.nio_person import logged_in, register

    async with AsyncExitStack() as stack:
        number = next(_numbers)
        user_ids = [await register(running_server.base_url, f"{name}.{number}") for name in ("alice", "bob")]
        alice, bob = [
            await stack.enter_async_context(logged_in(running_server.base_url, user_id)) for user_id in user_ids
        ]
        yield alice, bob


@pytest.fixture
async def meeting(people: tuple["Person", "Person"]) -> AsyncIterator[Meeting]:
    """Alice and Bob in a room."""
    import nio

    from tests.clients.nio_person import expect

    alice, bob = people
    async with alice.syncing(), bob.syncing():
        created = await alice.client.room_create(name="Ward 3", topic="Handover", preset=nio.RoomPreset.private_chat)
        room_id = expect(created, nio.RoomCreateResponse).room_id
        expect(await alice.client.room_invite(room_id, bob.user_id), nio.RoomInviteResponse)
        await bob.until(lambda: room_id in bob.invitations)
        expect(await bob.client.join(room_id), nio.JoinResponse)
        await bob.until(lambda: room_id in bob.client.rooms)
        await alice.until(lambda: bob.user_id in alice.client.rooms[room_id].users)
        yield Meeting(room_id=room_id, alice=alice, bob=bob)


async def test_ten_messages_each_way_reach_both_once_and_in_order(meeting: Meeting) -> None:
    said = await meeting.talk()
    assert len(said) == 2 * MESSAGES_EACH_WAY
    for person in (meeting.alice, meeting.bob):
        await person.hears(meeting.room_id, said)
