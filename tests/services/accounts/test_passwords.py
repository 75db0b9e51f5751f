"""Hashing beside the event loop, within bounds."""

import asyncio
import os

from tim_server.matrix.errors import LimitExceeded
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import PasswordPolicy


def hashing(**policy: int) -> PasswordHashing:
    """Hashing at next to no cost unless `policy` says otherwise."""
    return PasswordHashing(
        policy=PasswordPolicy(**{"memory_kib": 64, "time_cost": 1, **policy}),  # type: ignore[arg-type]
        randomness=os.urandom,
    )


async def test_a_hash_is_argon2id_at_the_cost_of_the_policy_and_salted() -> None:
    passwords = hashing(memory_kib=128, time_cost=3)
    first, second = await passwords.hash("a password"), await passwords.hash("a password")
    assert first.startswith("$argon2id$v=19$m=128,t=3,p=1$")
    assert first != second
    assert await passwords.verify("a password", first)
    assert not await passwords.verify("another", first)


async def test_no_password_fits_an_account_without_one() -> None:
    passwords = hashing()
    assert not await passwords.verify("", None)
    assert not await passwords.verify("x" * 10_000, None)
    assert not await passwords.verify("a password", "not a hash")


async def test_the_event_loop_goes_on_while_passwords_are_hashed() -> None:
    passwords = hashing(memory_kib=65_536, time_cost=3)
    tasks = [asyncio.create_task(passwords.hash("a password")) for _ in range(2)]
    turns = 0
    while not all(task.done() for task in tasks):
        await asyncio.sleep(0)
        turns += 1
    assert turns > 10


async def test_more_than_may_wait_are_sent_away() -> None:
    passwords = hashing(concurrency_max=1, waiting_max=2, memory_kib=4096)
    results = await asyncio.gather(*(passwords.hash("a password") for _ in range(10)), return_exceptions=True)
    assert sum(isinstance(result, LimitExceeded) for result in results) == 7
    assert await passwords.hash("a password")
