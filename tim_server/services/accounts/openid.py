"""Prove to other services who a user is.

Spec: https://spec.matrix.org/v1.19/client-server-api/#openid
"""

import base64
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, UnknownToken
from tim_server.matrix.identifiers import UserId
from tim_server.services.accounts.policy import Clock, Randomness
from tim_server.services.accounts.requester import Requester
from tim_server.services.accounts.tokens import TOKEN_LENGTH_MAX, token_hash
from tim_server.storage.database import Database
from tim_server.storage.openid_tokens import find_owner, insert_openid_token

LIFETIME_MS = 3_600_000
TOKEN_PREFIX = "tim_oi_"


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenIdTokens:
    """Makes tokens, and tells whose they are."""

    database: Database
    clock: Clock
    randomness: Randomness

    async def request(self, requester: Requester, user_id: UserId) -> str:
        """A token that stands for the user for an hour, and for nothing else; raises `Forbidden` for another's."""
        if user_id != requester.user_id:
            raise Forbidden("You can only ask for tokens of your own")
        token = TOKEN_PREFIX + base64.urlsafe_b64encode(self.randomness(32)).decode().rstrip("=")
        now = self.clock()
        async with self.database.transaction() as tx:
            await insert_openid_token(tx, token_hash(token), user_id, now=now, expires_ts=now + LIFETIME_MS)
        return token

    async def owner(self, token: str) -> UserId:
        """Whose token it is; raises `UnknownToken` for one that is not known, or has expired."""
        if len(token) > TOKEN_LENGTH_MAX:
            raise UnknownToken("The token is not known")
        async with self.database.connection() as connection:
            user_id = await find_owner(connection, token_hash(token), now=self.clock())
        if user_id is None:
            raise UnknownToken("The token is not known, or has expired")
        return user_id
