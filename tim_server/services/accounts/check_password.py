"""Check a password, at the same cost whether or not the account exists, and only so often per account."""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.errors import LimitExceeded
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import AttemptPolicy, Clock
from tim_server.storage.database import Connection, Database
from tim_server.storage.login_attempts import count_attempt, forget_attempts
from tim_server.storage.users import User, find_first_user, replace_password_hash
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordCheck:
    """Checks passwords of logins and of user-interactive authentication alike."""

    database: Database
    writer: Writer
    clock: Clock
    hashing: PasswordHashing
    policy: AttemptPolicy

    async def check(self, user_ids: Sequence[UserId], password: str) -> User | None:
        """The first of `user_ids` that exists, if the password is right; None otherwise, for whatever reason.

        Raises `LimitExceeded` when the name was tried too often, whether or not there is such an account.
        """
        if not user_ids:
            return None
        counted = user_ids[-1]
        await self._count(counted)
        async with self.database.connection() as connection:
            user = await find_first_user(connection, user_ids)
        password_hash = user.password_hash if user is not None else None
        if not await self.hashing.verify(password, password_hash) or user is None or password_hash is None:
            return None
        async with self.database.transaction() as tx:
            await forget_attempts(tx, counted)
        if self.hashing.is_outdated(password_hash):
            new_hash = await self.hashing.hash(password)
            await self.writer.write(_Rehash(users=(user.user_id,), old=password_hash, new=new_hash))
        return user

    async def _count(self, user_id: UserId) -> None:
        """Count first and look at the password then, so that many tries at once get no more chances."""
        now = self.clock()
        async with self.database.transaction() as tx:
            attempts, expires_ts = await count_attempt(tx, user_id, now=now, window_ms=self.policy.window_ms)
        if attempts > self.policy.failures_max:
            raise LimitExceeded("Too many wrong passwords; try again later", retry_after_ms=max(expires_ts - now, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rehash:
    users: tuple[UserId, ...]
    old: str
    new: str
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await replace_password_hash(tx, self.users[0], old=self.old, new=self.new)
