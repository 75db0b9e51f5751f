"""Log in with a password.

Spec: https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3login
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from tim_server.matrix.errors import Forbidden, UserLocked
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.check_password import PasswordCheck
from tim_server.services.accounts.open_session import (
    DEVICES,
    SessionDraft,
    SessionRequest,
    draft_session,
    store_session,
)
from tim_server.services.accounts.policy import Clock, Randomness, TokenPolicy
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.services.accounts.tokens import IssuedTokens
from tim_server.storage.codec import Codec
from tim_server.storage.commit_log import Fact
from tim_server.storage.database import Connection
from tim_server.storage.users import find_user
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Opens sessions for those who know the password."""

    writer: Writer
    codec: Codec
    token_cache: TokenCache
    clock: Clock
    randomness: Randomness
    password_check: PasswordCheck
    policy: TokenPolicy

    async def with_password(self, user_ids: Sequence[UserId], password: str, session: SessionRequest) -> IssuedTokens:
        """The tokens of a new session; tokens that the device had before are revoked.

        `user_ids` are those that the client may mean. Raises `Forbidden`, the same for a wrong name and a wrong
        password; `LimitExceeded` after too many; `UserLocked`; `InvalidParam` for a bad device id.
        """
        user = await self.password_check.check(user_ids, password)
        if user is None:
            raise Forbidden("The user name or password is wrong")
        if user.locked_ts is not None:
            raise UserLocked(soft_logout=True)
        return await self.open_session(user.user_id, session)

    async def open_session(self, user_id: UserId, session: SessionRequest) -> IssuedTokens:
        """Open a session for a user who has been authenticated; raises `Forbidden` when the account was closed
        meanwhile, and `InvalidParam`."""
        draft = draft_session(user_id, session, self.policy, self.randomness, self.codec, now=self.clock())
        await self.writer.write(_Open(users=(user_id,), draft=draft))
        self.token_cache.drop_user(user_id)
        return draft.issued


@dataclass(frozen=True, slots=True, kw_only=True)
class _Open:
    users: tuple[UserId, ...]
    draft: SessionDraft
    streams: tuple[str, ...] = (TOKENS, DEVICES)
    facts: list[Fact] = field(default_factory=list)

    async def store(self, tx: Connection, position: int) -> None:
        user = await find_user(tx, self.users[0])
        if user is None or user.deactivated_ts is not None:
            raise Forbidden("The user name or password is wrong")
        self.facts[:] = await store_session(tx, self.draft, position)
