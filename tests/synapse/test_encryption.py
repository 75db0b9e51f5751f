"""An encrypted conversation between somebody at ours and somebody at Synapse, with matrix-nio."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.images import image, photo
from tests.synapse.conftest import Pair

if TYPE_CHECKING:
    from tests.clients.nio_person import Person

pytestmark = pytest.mark.external

ENCRYPTION = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}


@dataclass
class Meeting:
    """An encrypted room of Alice's, where Bob is by her invitation; both know each other's device."""

    room_id: str
    alice: "Person"
    bob: "Person"

    @property
    def turns(self) -> tuple[tuple["Person", "Person"], ...]:
        """Who tells whom."""
        return (self.alice, self.bob), (self.bob, self.alice)


@pytest.fixture(scope="module", params=["ours", "theirs"])
async def meeting(request: pytest.FixtureRequest, pair: Pair) -> AsyncIterator[Meeting]:
    """In a room that is made at ours, or at theirs, by Alice who is there."""
    pytest.importorskip("vodozemac", reason="needs matrix-nio with encryption: pip install -e '.[external]'")
    from tests.clients import nio_person

    home = request.param
    our_url, their_url = str(pair.ours.session._base_url).rstrip("/"), pair.synapse.base_url
    urls = (our_url, their_url) if home == "ours" else (their_url, our_url)
    names = [await nio_person.register(url, f"{who}-{home}") for url, who in zip(urls, ("alice", "bob"), strict=True)]
    async with (
        nio_person.logged_in(urls[0], names[0], encryption=True) as alice,
        nio_person.logged_in(urls[1], names[1], encryption=True) as bob,
        alice.syncing(full_state=True),
        bob.syncing(full_state=True),
    ):
        room_id = (await alice.call("room_create", initial_state=[ENCRYPTION], invite=[bob.user_id])).room_id
        await bob.until(lambda: room_id in bob.invitations)
        await bob.call("join", room_id)
        await alice.until(lambda: bob.user_id in alice.members(room_id))
        await bob.until(lambda: alice.user_id in bob.members(room_id))
        await alice.until(lambda: alice.knows_device(bob.user_id, bob.device_id))
        await bob.until(lambda: bob.knows_device(alice.user_id, alice.device_id))
        yield Meeting(room_id, alice, bob)


async def test_both_read_what_the_other_has_encrypted(meeting: Meeting) -> None:
    said: list[str] = []
    for number in range(5):
        for speaker, listener in meeting.turns:
            said.append(f"{number} from {speaker.user_id}")
            await speaker.say(meeting.room_id, said[-1])
            await listener.hears(meeting.room_id, said)


async def test_both_open_photos_that_the_other_has_encrypted(meeting: Meeting) -> None:
    from tests.clients.nio_photos import open_encrypted_photo, send_encrypted_photo

    for speaker, listener in meeting.turns:
        photos = photo(1600, 1200), image(60, 80)
        event_id = await send_encrypted_photo(speaker, meeting.room_id, *photos)
        assert await open_encrypted_photo(listener, meeting.room_id, event_id) == photos
