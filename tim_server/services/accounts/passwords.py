"""Passwords: argon2id in a few threads beside the event loop.

argon2 lets go of the interpreter while it works, so other requests go on. What a client can ask for is bounded: few
hashes at once, a short queue, then `M_LIMIT_EXCEEDED`.
"""

import asyncio
import unicodedata
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

import argon2

from tim_server.matrix.errors import InvalidParam, LimitExceeded, WeakPassword
from tim_server.services.accounts.policy import PasswordPolicy, Randomness

T = TypeVar("T")

_SALT_BYTES = 16


@dataclass(slots=True)
class _Load:
    waiting: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordHashing:
    """Hashes and verifies passwords at the policy's cost."""

    policy: PasswordPolicy
    randomness: Randomness
    _argon2: argon2.PasswordHasher = field(init=False, repr=False)
    _threads: ThreadPoolExecutor = field(init=False, repr=False)
    _load: _Load = field(init=False, repr=False, default_factory=_Load)
    _hash_of_nobody: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Make the threads, and the hash that passwords of unknown accounts are held against."""
        policy = self.policy
        hasher = argon2.PasswordHasher(
            time_cost=policy.time_cost, memory_cost=policy.memory_kib, parallelism=policy.parallelism
        )
        object.__setattr__(self, "_argon2", hasher)
        object.__setattr__(self, "_threads", ThreadPoolExecutor(policy.concurrency_max, "password"))
        object.__setattr__(self, "_hash_of_nobody", hasher.hash(self.randomness(32), salt=self.randomness(_SALT_BYTES)))

    def check_acceptable(self, password: str) -> None:
        """Raise `WeakPassword` or `InvalidParam` unless the policy takes this as a new password."""
        if len(password) < self.policy.length_min:
            raise WeakPassword(f"The password must have at least {self.policy.length_min} characters")
        if len(password.encode()) > self.policy.size_bytes_max:
            raise InvalidParam(f"The password must have at most {self.policy.size_bytes_max} bytes")

    async def hash(self, password: str) -> str:
        """The hash to store, with its parameters and a fresh salt; raises `LimitExceeded` when too many wait."""
        salt = self.randomness(_SALT_BYTES)
        return await self._run(lambda: self._argon2.hash(_normalised(password), salt=salt))

    async def verify(self, password: str, password_hash: str | None) -> bool:
        """Whether the password is the one that was hashed. None (no such account, or one without a password) takes as
        long as a wrong password; raises `LimitExceeded` when too many wait."""
        if len(password) > self.policy.size_bytes_max:
            password = ""
        against = password_hash or self._hash_of_nobody
        matches = await self._run(lambda: self._matches(against, _normalised(password)))
        return matches and password_hash is not None

    def is_outdated(self, password_hash: str) -> bool:
        """Whether the hash was made at another cost than the policy asks for now."""
        return self._argon2.check_needs_rehash(password_hash)

    def close(self) -> None:
        """End the threads once they have finished."""
        self._threads.shutdown(wait=False)

    def _matches(self, password_hash: str, password: bytes) -> bool:
        try:
            return self._argon2.verify(password_hash, password)
        except (argon2.exceptions.VerificationError, argon2.exceptions.InvalidHashError):
            return False

    async def _run(self, work: Callable[[], T]) -> T:
        if self._load.waiting >= self.policy.concurrency_max + self.policy.waiting_max:
            raise LimitExceeded("Too many logins at this moment; try again", retry_after_ms=1000)
        self._load.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._load.waiting -= 1


def _normalised(password: str) -> bytes:
    """The same bytes for what looks the same, whichever keyboard it came from (Unicode NFKC)."""
    return unicodedata.normalize("NFKC", password).encode()
