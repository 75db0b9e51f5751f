"""Who an access token stands for.

Spec: https://spec.matrix.org/v1.19/client-server-api/#using-access-tokens
"""

import contextlib
from dataclasses import dataclass

from tim_server.matrix.errors import Unavailable, UnknownToken, UserLocked
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.policy import Clock, TokenPolicy
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.token_cache import TOKENS, CachedToken, TokenCache
from tim_server.services.accounts.tokens import TOKEN_LENGTH_MAX, token_hash
from tim_server.storage.access_tokens import AccessTokenOwner, find_access_token, revoke_predecessor
from tim_server.storage.database import Connection, Database
from tim_server.storage.devices import touch_device
from tim_server.storage.writer import Writer


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """Reads tokens through the cache."""

    database: Database
    writer: Writer
    token_cache: TokenCache
    clock: Clock
    policy: TokenPolicy

    async def requester(self, token: str, *, locked_ok: bool = False) -> Requester:
        """The requester that `token` stands for.

        Raises `UnknownToken`, with `soft_logout` where the token has only expired, and `UserLocked` unless `locked_ok`
        (which only logging out allows).
        """
        now = self.clock()
        cached = await self._find(token, now)
        if cached.expires_ts is not None and cached.expires_ts <= now:
            raise UnknownToken("The access token has expired", soft_logout=True)
        if cached.is_locked and not locked_ok:
            raise UserLocked(soft_logout=True)
        return cached.requester

    async def _find(self, token: str, now: int) -> CachedToken:
        if len(token) > TOKEN_LENGTH_MAX or not token.isascii():
            raise UnknownToken()
        digest = token_hash(token)
        cached = self.token_cache.get(digest)
        if cached is not None and cached.loaded_ts > now - self.policy.cache_lifetime_ms:
            return cached
        generation = self.token_cache.generation
        async with self.database.connection() as connection:
            owner = await find_access_token(connection, digest)
        if owner is None:
            raise UnknownToken()
        cached = _cached(owner, now)
        if owner.expires_ts is None or owner.expires_ts > now:
            await self._record_use(owner, now)
            self.token_cache.put(digest, cached, generation=generation)
        return cached

    async def _record_use(self, owner: AccessTokenOwner, now: int) -> None:
        """The first use of a refreshed token revokes what it replaced; the device is marked as seen now and then."""
        if owner.predecessor is not None and owner.refresh_token_id is not None:
            await self.writer.write(
                _FirstUse(
                    users=(owner.user_id,), refresh_token_id=owner.refresh_token_id, predecessor=owner.predecessor
                )
            )
            self.token_cache.drop_user(owner.user_id)
        if owner.last_seen_ts <= now - self.policy.seen_interval_ms:
            with contextlib.suppress(Unavailable):  # reading goes on where nothing can be written
                await self.writer.write(_Seen(users=(owner.user_id,), device_id=owner.device_id, now=now))


def _cached(owner: AccessTokenOwner, now: int) -> CachedToken:
    requester = Requester(
        user_id=owner.user_id,
        device_id=owner.device_id,
        token_id=owner.token_id,
        is_guest=owner.is_guest,
        is_admin=owner.is_admin,
        is_suspended=owner.is_suspended,
    )
    return CachedToken(requester=requester, expires_ts=owner.expires_ts, is_locked=owner.is_locked, loaded_ts=now)


@dataclass(frozen=True, slots=True, kw_only=True)
class _FirstUse:
    users: tuple[UserId, ...]
    refresh_token_id: int
    predecessor: int
    streams: tuple[str, ...] = (TOKENS,)

    async def store(self, tx: Connection, position: int) -> None:
        await revoke_predecessor(tx, self.refresh_token_id, self.predecessor)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    users: tuple[UserId, ...]
    device_id: str
    now: int
    streams: tuple[str, ...] = ()

    async def store(self, tx: Connection, position: int) -> None:
        await touch_device(tx, self.users[0], self.device_id, now=self.now)
