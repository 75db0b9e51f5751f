"""Cross-signing, secret storage and key backup with matrix-js-sdk, as Element sets them up."""

import itertools
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

import pytest

from tests.clients.js_person import JsPerson, NodeProcess, new_device, new_person
from tests.clients.server_process import RunningServer

pytestmark = pytest.mark.external

COMPARED = {"compared": True, "signed": True}
SIGNED = {"compared": False, "signed": True}
NOT_TRUSTED = {"compared": False, "signed": False}

_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Couple:
    """Alice and Bob in an encrypted room; each has set up an identity, secret storage and a key backup."""

    room_id: str
    alice: JsPerson
    bob: JsPerson
    recovery_key_of_bob: str
    base_url: str

    def phone_of_bob(self) -> AbstractAsyncContextManager[JsPerson]:
        """A new device of Bob, which nobody knows yet."""
        return new_device(self.bob.node, self.base_url, self.bob.user_id)

    async def talk(self) -> list[str]:
        """A message of each, which the other has read; their texts."""
        await self.alice.say(self.room_id, "Good morning")
        await self.bob.hears(self.room_id, ["Good morning"])
        await self.bob.say(self.room_id, "Morning")
        for person in (self.alice, self.bob):
            await person.hears(self.room_id, ["Good morning", "Morning"])
        return ["Good morning", "Morning"]


@pytest.fixture
async def couple(running_server: RunningServer, node_process: NodeProcess) -> AsyncIterator[Couple]:
    """Alice and Bob with fresh accounts."""
    url, number = running_server.base_url, next(_numbers)
    async with AsyncExitStack() as stack:
        alice, bob = [
            await stack.enter_async_context(new_person(node_process, url, f"{name}.couple.{number}"))
            for name in ("alice", "bob")
        ]
        _, key = [await person.ask("setUpRecovery") for person in (alice, bob)]
        room_id = await alice.ask("createEncryptedRoom", {"invite": [bob.user_id]})
        await bob.shows("membership", room_id, expecting="invite")
        await bob.ask("join", room_id)
        for person in (alice, bob):
            await person.shows("members", room_id, expecting=[alice.user_id, bob.user_id])
        yield Couple(room_id=room_id, alice=alice, bob=bob, recovery_key_of_bob=key, base_url=url)


async def compare_numbers(one: JsPerson, other: JsPerson) -> None:
    """Accept the verification that `one` has asked `other` for, and carry it out."""
    await other.shows("verification", expecting="Requested")
    await other.ask("acceptVerification")
    await one.shows("verification", expecting="Ready")
    await one.ask("startComparing")
    await other.ask("agreeToCompare")
    assert await one.ask("numbers") == await other.ask("numbers")
    for device in (one, other):
        await device.ask("confirmNumbers")
    for device in (one, other):
        await device.shows("verification", expecting="Done")


async def test_people_who_verify_each_other_trust_all_of_their_devices(couple: Couple) -> None:
    alice, bob = couple.alice, couple.bob
    await couple.talk()
    assert not await alice.ask("hasVerified", bob.user_id)
    await alice.ask("requestUserVerification", bob.user_id, couple.room_id)
    await compare_numbers(alice, bob)
    for one, other in ((alice, bob), (bob, alice)):
        await one.shows("hasVerified", other.user_id, expecting=True)
        await one.shows("trust", other.user_id, other.device_id, expecting=COMPARED)
    async with couple.phone_of_bob() as phone:
        await alice.shows("trust", bob.user_id, phone.device_id, expecting=NOT_TRUSTED)
        await phone.ask("recover", couple.recovery_key_of_bob)
        await alice.shows("trust", bob.user_id, phone.device_id, expecting=SIGNED)
        await phone.shows("hasVerified", alice.user_id, expecting=True)
        await phone.shows("trust", alice.user_id, alice.device_id, expecting=SIGNED)


async def test_a_recovery_key_brings_identity_and_history_to_a_new_device(couple: Couple) -> None:
    bob = couple.bob
    said = await couple.talk()
    await bob.shows("backedUp", expecting={"backedUp": 2, "total": 2})
    async with couple.phone_of_bob() as phone:
        assert not await phone.ask("canSign")
        assert await phone.ask("recover", couple.recovery_key_of_bob) == 2
        assert await phone.ask("history", couple.room_id) == said
        await phone.shows("canSign", expecting=True)
        await phone.shows("backsUp", expecting=True)
        await bob.shows("trust", bob.user_id, phone.device_id, expecting=SIGNED)
        await phone.shows("trust", bob.user_id, bob.device_id, expecting=SIGNED)


async def test_a_device_that_another_one_verifies_is_given_its_secrets(couple: Couple) -> None:
    bob = couple.bob
    said = await couple.talk()
    await bob.shows("backedUp", expecting={"backedUp": 2, "total": 2})
    async with couple.phone_of_bob() as phone:
        await phone.shows("trust", bob.user_id, bob.device_id, expecting=NOT_TRUSTED)
        await phone.ask("requestOwnVerification")
        await compare_numbers(phone, bob)
        await phone.shows("canSign", expecting=True)
        await phone.shows("backsUp", expecting=True)
        await bob.shows("trust", bob.user_id, phone.device_id, expecting=COMPARED)
        await phone.ask("history", couple.room_id)
        await phone.hears(couple.room_id, said)


async def test_a_new_identity_needs_the_password_and_must_be_verified_anew(couple: Couple) -> None:
    alice, bob = couple.alice, couple.bob
    await alice.ask("requestUserVerification", bob.user_id, couple.room_id)
    await compare_numbers(alice, bob)
    await alice.shows("hasVerified", bob.user_id, expecting=True)
    assert await bob.ask("replaceIdentity") == 1
    await alice.shows("hasVerified", bob.user_id, expecting=False)
    await alice.shows("trust", bob.user_id, bob.device_id, expecting={"compared": True, "signed": False})
