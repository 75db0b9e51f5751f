"""Close an account for good.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3accountdeactivate
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tim_server.matrix.errors import Forbidden
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.open_session import DEVICES
from tim_server.services.accounts.policy import Clock
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.services.accounts.uia import PASSWORD, InteractiveAuth, Operation
from tim_server.storage.account_data import delete_account_data
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.commit_log import Fact
from tim_server.storage.cross_signing_keys import delete_all_cross_signing
from tim_server.storage.database import Connection
from tim_server.storage.device_removal import remove_all_devices
from tim_server.storage.key_backups import delete_all_versions
from tim_server.storage.notifications import delete_notifications
from tim_server.storage.openid_tokens import delete_openid_tokens
from tim_server.storage.presence import delete_presence
from tim_server.storage.profiles import delete_profile
from tim_server.storage.push_rules import PUSH_RULES, delete_push_rules
from tim_server.storage.receipts import delete_receipts
from tim_server.storage.uia_sessions import consume_session
from tim_server.storage.user_directory import remove_users
from tim_server.storage.users import ERASED, deactivate_user, erase_user
from tim_server.storage.writer import Writer

OPERATION = "deactivate_account"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deactivation:
    """Deactivates accounts. `leave_rooms` makes a user leave every room and reject every invite."""

    writer: Writer
    token_cache: TokenCache
    clock: Clock
    uia: InteractiveAuth
    leave_rooms: Callable[[UserId], Awaitable[None]]

    async def deactivate(self, requester: Requester, auth: Mapping[str, Any] | None, *, erase: bool) -> None:
        """Close the requester's account once the password was given; raises `InteractiveAuthRequired`.

        Rooms are left first: an interrupted request can then be repeated. Devices, keys and key backups go, and with
        `erase` profile, account data, push rules, receipts and presence; whoever joins a room later is then served
        redacted copies of the user's messages.
        """
        operation = Operation(name=OPERATION, flows=((PASSWORD,),), user_id=requester.user_id)
        uia_session = await self.uia.authenticate(operation, auth)
        await self.leave_rooms(requester.user_id)
        await self.writer.write(
            _Deactivate(users=(requester.user_id,), erase=erase, uia_session=uia_session, now=self.clock())
        )
        self.token_cache.drop_user(requester.user_id)


STREAMS = (TOKENS, DEVICES, "profile", PUSH_RULES)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Deactivate:
    users: tuple[UserId, ...]
    erase: bool
    uia_session: str | None
    now: int
    facts: list[Fact] = field(default_factory=list)

    @property
    def streams(self) -> tuple[str, ...]:
        return (*STREAMS, ERASED) if self.erase else STREAMS

    async def store(self, tx: Connection, position: int) -> None:
        user_id = self.users[0]
        if self.uia_session is not None and not await consume_session(tx, self.uia_session, now=self.now):
            raise Forbidden("The authentication has been used already")
        if await deactivate_user(tx, user_id, self.now):
            await append_audit(tx, AuditEntry(actor=user_id, action="user.deactivate", object=user_id))
        await remove_users(tx, [user_id])
        self.facts[:] = await remove_all_devices(tx, user_id, position)
        await delete_all_cross_signing(tx, user_id)
        await delete_all_versions(tx, user_id)
        await delete_openid_tokens(tx, user_id)
        if self.erase:
            await append_audit(tx, AuditEntry(actor=user_id, action="user.erase", object=user_id))
            await erase_user(tx, user_id, position)
            await delete_profile(tx, user_id)
            await delete_account_data(tx, user_id)
            await delete_push_rules(tx, user_id)
            await delete_receipts(tx, user_id)
            await delete_presence(tx, user_id)
            await delete_notifications(tx, user_id)
