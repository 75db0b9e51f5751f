"""Refresh an access token.

Spec: https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens
"""

from dataclasses import dataclass

from tim_server.matrix.errors import UnknownToken, UserLocked
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.policy import Clock, Randomness, TokenPolicy
from tim_server.services.accounts.token_cache import TOKENS, TokenCache
from tim_server.services.accounts.tokens import TOKEN_LENGTH_MAX, IssuedTokens, TokenOwner, issue_tokens, token_hash
from tim_server.storage.access_tokens import (
    NewTokens,
    RefreshTokenOwner,
    find_refresh_token,
    insert_tokens,
    revoke_predecessor,
    revoke_successors,
)
from tim_server.storage.database import Connection, Database
from tim_server.storage.devices import touch_device
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Refresh:
    """Gives a new pair of tokens for a refresh token.

    The refresh token stays valid until one of the new tokens is used, so a client that did not get the answer may ask
    again: the pair of the answer that was lost is revoked then.
    """

    database: Database
    writer: Writer
    token_cache: TokenCache
    clock: Clock
    randomness: Randomness
    policy: TokenPolicy

    async def refresh(self, refresh_token: str) -> IssuedTokens:
        """The new pair. Raises `UnknownToken`, with `soft_logout` where the token has only expired; `UserLocked`."""
        if len(refresh_token) > TOKEN_LENGTH_MAX or not refresh_token.isascii():
            raise UnknownToken("The refresh token is not known")
        now = self.clock()
        digest = token_hash(refresh_token)
        async with self.database.connection() as connection:
            owner = await find_refresh_token(connection, digest)
        _check(owner, now)
        assert owner is not None
        device = TokenOwner(user_id=owner.user_id, device_id=owner.device_id, refreshable=True)
        issued, stored = issue_tokens(device, self.policy, self.randomness, now=now, predecessor=owner.token_id)
        await self.writer.write(_Rotate(users=(owner.user_id,), token_hash=digest, tokens=stored, now=now))
        self.token_cache.drop_user(owner.user_id)
        return issued


def _check(owner: RefreshTokenOwner | None, now: int) -> None:
    if owner is None:
        raise UnknownToken("The refresh token is not known, or was used already")
    if owner.is_locked:
        raise UserLocked(soft_logout=True)
    if owner.expires_ts is not None and owner.expires_ts <= now:
        raise UnknownToken("The refresh token has expired", soft_logout=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rotate:
    users: tuple[UserId, ...]
    token_hash: bytes
    tokens: NewTokens
    now: int
    streams: tuple[str, ...] = (TOKENS,)

    async def store(self, tx: Connection, position: int) -> None:
        owner = await find_refresh_token(tx, self.token_hash)
        _check(owner, self.now)
        assert owner is not None
        if owner.predecessor is not None:
            await revoke_predecessor(tx, owner.token_id, owner.predecessor)
        await revoke_successors(tx, owner.token_id)
        await insert_tokens(tx, self.tokens)
        await touch_device(tx, owner.user_id, owner.device_id, now=self.now)
