"""Accounts for administrators: list them, lock, suspend."""

from dataclasses import dataclass

from tim_server.matrix.errors import NotFound
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.policy import Clock
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.database import Connection, Database
from tim_server.storage.users import User, find_user, list_users, set_locked, set_suspended
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountDirectory:
    """Reads accounts, and locks or suspends them for an administrator, the `actor`.

    Spec: https://spec.matrix.org/v1.19/client-server-api/#account-moderation
    """

    database: Database
    writer: Writer
    token_cache: TokenCache
    clock: Clock

    async def find(self, user_id: UserId) -> User:
        """The account; raises `NotFound`."""
        async with self.database.connection() as connection:
            user = await find_user(connection, user_id)
        if user is None:
            raise NotFound("There is no such account")
        return user

    async def list(self, *, after: str = "", limit: int = 100) -> list[User]:
        """Up to `limit` accounts whose id sorts after `after`, in order."""
        async with self.database.connection() as connection:
            return await list_users(connection, after=after, limit=limit)

    async def set_locked(self, user_id: UserId, *, locked: bool, actor: str) -> None:
        """Lock an account (its tokens stay, but are refused) or unlock it; raises `NotFound`."""
        await self._write(_SetLocked(users=(user_id,), since=self.clock() if locked else None, actor=actor))

    async def set_suspended(self, user_id: UserId, *, suspended: bool, actor: str) -> None:
        """Suspend an account (it may read, but not send) or lift that; raises `NotFound`."""
        await self._write(_SetSuspended(users=(user_id,), since=self.clock() if suspended else None, actor=actor))

    async def _write(self, write: "_SetLocked | _SetSuspended") -> None:
        if not await self.writer.write(write):
            raise NotFound("There is no such account")
        self.token_cache.drop_user(write.users[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetLocked:
    users: tuple[UserId, ...]
    since: int | None
    actor: str
    streams: tuple[str, ...] = (TOKENS,)

    async def store(self, tx: Connection, position: int) -> bool:
        if not await set_locked(tx, self.users[0], self.since):
            return False
        action = "user.unlock" if self.since is None else "user.lock"
        await append_audit(tx, AuditEntry(actor=self.actor, action=action, object=self.users[0]))
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class _SetSuspended:
    users: tuple[UserId, ...]
    since: int | None
    actor: str
    streams: tuple[str, ...] = (TOKENS,)

    async def store(self, tx: Connection, position: int) -> bool:
        if not await set_suspended(tx, self.users[0], self.since):
            return False
        action = "user.unsuspend" if self.since is None else "user.suspend"
        await append_audit(tx, AuditEntry(actor=self.actor, action=action, object=self.users[0]))
        return True
