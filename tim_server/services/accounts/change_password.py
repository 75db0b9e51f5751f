"""Change a password.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountpassword
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.passwords import PasswordHashing
from tim_server.services.accounts.policy import Clock
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.services.accounts.uia import PASSWORD, InteractiveAuth, Operation
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.device_removal import end_sessions
from tim_server.storage.uia_sessions import consume_session
from tim_server.storage.users import set_password_hash
from tim_server.storage.writer import Writer

OPERATION = "change_password"


@dataclass(frozen=True, slots=True, kw_only=True)
class PasswordChange:
    """Sets new passwords."""

    writer: Writer
    token_cache: TokenCache
    clock: Clock
    hashing: PasswordHashing
    uia: InteractiveAuth

    async def change(
        self, requester: Requester, new_password: str, auth: Mapping[str, Any] | None, *, logout_devices: bool
    ) -> None:
        """Set the requester's password once the old one was given; the requester's own session goes on.

        Raises `Forbidden` where passwords can't be changed here, `WeakPassword` or `InvalidParam`, and
        `InteractiveAuthRequired`.
        """
        if not self.hashing.policy.change_allowed:
            raise Forbidden("Passwords can't be changed on this server")
        self.hashing.check_acceptable(new_password)
        operation = Operation(name=OPERATION, flows=((PASSWORD,),), user_id=requester.user_id)
        uia_session = await self.uia.authenticate(operation, auth)
        password_hash = await self.hashing.hash(new_password)
        await self._write(
            _Change(
                users=(requester.user_id,),
                password_hash=password_hash,
                logout_devices=logout_devices,
                kept=requester.device_id,
                uia_session=uia_session,
                audit=_audit(requester.user_id, "user.change_password", requester.user_id),
                now=self.clock(),
            )
        )

    async def reset(self, user_id: UserId, new_password: str, *, logout_devices: bool, actor: str) -> None:
        """Set a user's password for an administrator, the `actor`; raises `WeakPassword`, `InvalidParam`, and
        `Forbidden` where there is no such active account."""
        self.hashing.check_acceptable(new_password)
        password_hash = await self.hashing.hash(new_password)
        await self._write(
            _Change(
                users=(user_id,),
                password_hash=password_hash,
                logout_devices=logout_devices,
                kept=None,
                uia_session=None,
                audit=_audit(actor, "user.reset_password", user_id),
                now=self.clock(),
            )
        )

    async def _write(self, change: "_Change") -> None:
        await self.writer.write(change)
        self.token_cache.drop_user(change.users[0])


def _audit(actor: str, action: str, user_id: UserId) -> AuditEntry:
    return AuditEntry(actor=actor, action=action, object=user_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Change:
    users: tuple[UserId, ...]
    password_hash: str
    logout_devices: bool
    kept: str | None
    uia_session: str | None
    audit: AuditEntry
    now: int
    streams: tuple[str, ...] = (TOKENS, DEVICES)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        if self.uia_session is not None and not await consume_session(tx, self.uia_session, now=self.now):
            raise Forbidden("The authentication has been used already")
        if not await set_password_hash(tx, self.users[0], self.password_hash):
            raise Forbidden("There is no such active account")
        await append_audit(tx, self.audit)
        if self.logout_devices:
            self.facts[:] = await end_sessions(tx, self.users[0], position, kept=self.kept)
