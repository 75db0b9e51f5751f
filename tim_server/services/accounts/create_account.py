"""Make an account, and open its first session in the same commit.

Spec: https://spec.matrix.org/v1.19/appendices/#user-identifiers
"""

import base64
from dataclasses import dataclass, field

import orjson

from tim_server.matrix.errors import Forbidden, InvalidUsername, UserInUse
from tim_server.matrix.identifiers import InvalidIdentifier, ServerName, UserId, is_valid_new_localpart
from tim_server.services.accounts.open_session import (
    DEVICES,
    SessionDraft,
    SessionRequest,
    draft_session,
    store_session,
)
from tim_server.services.accounts.policy import Clock, Randomness, TokenPolicy
from tim_server.services.accounts.token_cache import TOKENS
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection, Database
from tim_server.storage.profiles import put_field
from tim_server.storage.uia_sessions import MadeAccount, consume_session
from tim_server.storage.user_directory import index_users
from tim_server.storage.users import User, find_user, insert_user, promote_guest
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class NewAccount:
    """An account to be made by `actor`. `session` None opens none; `uia_session` is the authentication that it
    consumes. `was_guest`: it exists, as a guest's."""

    user_id: UserId
    password_hash: str | None
    actor: str
    is_admin: bool = False
    is_guest: bool = False
    was_guest: bool = False
    user_type: str | None = None
    display_name: str | None = None
    session: SessionRequest | None = None
    uia_session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountCreation:
    """Makes accounts of one server."""

    server_name: ServerName
    database: Database
    writer: Writer
    codec: Codec
    clock: Clock
    randomness: Randomness
    policy: TokenPolicy

    def user_id_of(self, username: str | None) -> UserId:
        """The user id for a wanted name, in lower case; a random one for None. Raises `InvalidUsername`."""
        if username is None:
            username = base64.b32encode(self.randomness(10)).decode().lower()
        localpart = username.lower()
        if not is_valid_new_localpart(localpart):
            raise InvalidUsername("A user name may have lower-case letters, digits and the characters . _ = / + -")
        try:
            return UserId.parse(f"@{localpart}:{self.server_name}")
        except InvalidIdentifier:
            raise InvalidUsername("The user name is too long") from None

    async def check_available(self, user_id: UserId) -> None:
        """Raise `UserInUse` where there is, or ever was, an account with this id."""
        async with self.database.connection() as connection:
            if await find_user(connection, user_id) is not None:
                raise UserInUse()

    async def create(self, account: NewAccount) -> IssuedTokens | None:
        """Make the account; the tokens of its session, if one was asked for.

        Raises `UserInUse`, `InvalidParam` for a session that can't be opened, and `Forbidden` when the authentication
        has been consumed meanwhile.
        """
        now = self.clock()
        draft = None
        if account.session is not None:
            draft = draft_session(account.user_id, account.session, self.policy, self.randomness, self.codec, now=now)
        display_name = None
        if account.display_name is not None:
            display_name = self.codec.encode(orjson.dumps(account.display_name))
        await self.writer.write(
            _Create(
                users=(account.user_id,),
                account=account,
                draft=draft,
                display_name=display_name,
                now=now,
                codec=self.codec,
            )
        )
        return None if draft is None else draft.issued


@dataclass(frozen=True, slots=True, kw_only=True)
class _Create:
    users: tuple[UserId, ...]
    account: NewAccount
    draft: SessionDraft | None
    display_name: bytes | None
    now: int
    codec: Codec
    streams: tuple[str, ...] = (DEVICES, "profile", TOKENS)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        account = self.account
        user = User(
            user_id=account.user_id,
            password_hash=account.password_hash,
            created_ts=self.now,
            is_admin=account.is_admin,
            is_guest=account.is_guest,
            user_type=account.user_type,
        )
        if not await (promote_guest(tx, user) if account.was_guest else insert_user(tx, user)):
            raise UserInUse()
        await self._consume_session(tx)
        await append_audit(tx, AuditEntry(actor=account.actor, action="user.create", object=account.user_id))
        if account.is_admin:
            await append_audit(tx, AuditEntry(actor=account.actor, action="user.grant_admin", object=account.user_id))
        if self.display_name is not None:
            await put_field(tx, account.user_id, "displayname", self.display_name, position=position)
        await index_users(tx, self.codec, [account.user_id])
        if self.draft is not None:
            self.facts[:] = await store_session(tx, self.draft, position)

    async def _consume_session(self, tx: Connection) -> None:
        session_id = self.account.uia_session
        device_id = None if self.draft is None else self.draft.issued.device_id
        made = MadeAccount(user_id=self.account.user_id, device_id=device_id)
        if session_id is not None and not await consume_session(tx, session_id, now=self.now, made=made):
            raise Forbidden("The authentication has been used already")
