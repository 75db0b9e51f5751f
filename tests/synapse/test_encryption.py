"""An encrypted conversation between somebody at ours and somebody at Synapse, with matrix-nio."""

import pytest

from tests.synapse.conftest import Pair

pytestmark = pytest.mark.external


@pytest.mark.parametrize("home", ["ours", "theirs"])
async def test_both_read_what_the_other_has_encrypted(pair: Pair, home: str) -> None:
    pytest.importorskip("vodozemac", reason="needs matrix-nio with encryption: pip install -e '.[external]'")
    from tests.clients import nio_person

    our_url, their_url = str(pair.ours.session._base_url).rstrip("/"), pair.synapse.base_url
    urls = (our_url, their_url) if home == "ours" else (their_url, our_url)
    names = [await nio_person.register(url, f"{who}-{home}") for url, who in zip(urls, ("alice", "bob"), strict=True)]
    async with (
        nio_person.logged_in(urls[0], names[0], encryption=True) as alice,
        nio_person.logged_in(urls[1], names[1], encryption=True) as bob,
        alice.syncing(full_state=True),
        bob.syncing(full_state=True),
    ):
        encryption = {"type": "m.room.encryption", "state_key": "", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        room_id = (await alice.call("room_create", initial_state=[encryption], invite=[bob.user_id])).room_id
        await bob.until(lambda: room_id in bob.invitations)
        await bob.call("join", room_id)
        await alice.until(lambda: bob.user_id in alice.members(room_id))
        await bob.until(lambda: alice.user_id in bob.members(room_id))
        await alice.until(lambda: alice.knows_device(bob.user_id, bob.device_id))
        await bob.until(lambda: bob.knows_device(alice.user_id, alice.device_id))
        said: list[str] = []
        for number in range(5):
            for speaker, listener in ((alice, bob), (bob, alice)):
                said.append(f"{number} from {speaker.user_id}")
                await speaker.say(room_id, said[-1])
                await listener.hears(room_id, said)
