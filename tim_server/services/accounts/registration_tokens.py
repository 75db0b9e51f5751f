"""Registration tokens: who has one may register.

Spec: https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration
"""

import base64
import hashlib
import re
from dataclasses import dataclass

from tim_server.matrix.errors import Forbidden, InvalidParam
from tim_server.services.accounts.policy import Clock, Randomness, RegistrationPolicy
from tim_server.storage.audit_log import AuditEntry, append_audit
from tim_server.storage.database import Database
from tim_server.storage.registration_tokens import (
    RegistrationToken,
    delete_registration_token,
    find_registration_token,
    insert_registration_token,
    list_registration_tokens,
)

_OPAQUE_IDENTIFIER = re.compile(r"[0-9A-Za-z._~-]{1,64}")
_GENERATED_BYTES = 12
_FINGERPRINT_LENGTH = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationTokens:
    """Tells whether a token is valid, and makes, lists and removes them for administrators."""

    database: Database
    clock: Clock
    randomness: Randomness
    policy: RegistrationPolicy

    async def is_valid(self, token: str) -> bool:
        """Whether a registration may begin with this token; raises `Forbidden` where registration is closed."""
        if not self.policy.enabled:
            raise Forbidden("Registration is closed on this server")
        now = self.clock()
        async with self.database.connection() as connection:
            found = await find_registration_token(connection, token, now=now)
        return found is not None and found.is_valid(now)

    async def create(
        self,
        token: str | None = None,
        *,
        actor: str,
        uses_allowed: int | None = None,
        expires_ts: int | None = None,
    ) -> RegistrationToken:
        """Make a token for an administrator, the `actor`, with a random name unless one is given.

        Raises `InvalidParam` for a name of the wrong form, a name that is taken, or limits that no registration could
        meet.
        """
        name = token or base64.urlsafe_b64encode(self.randomness(_GENERATED_BYTES)).decode()
        if not _OPAQUE_IDENTIFIER.fullmatch(name):
            raise InvalidParam("A token has up to 64 letters, digits and the characters . _ ~ -")
        if uses_allowed is not None and not 0 <= uses_allowed < 2**31:
            raise InvalidParam("uses_allowed must be a non-negative integer")
        if expires_ts is not None and expires_ts <= self.clock():
            raise InvalidParam("The expiry time must be in the future")
        async with self.database.transaction() as tx:
            if not await insert_registration_token(tx, name, uses_allowed=uses_allowed, expires_ts=expires_ts):
                raise InvalidParam("There is such a token already")
            await append_audit(tx, _audit(actor, "registration_token.create", name))
        return RegistrationToken(token=name, uses_allowed=uses_allowed, pending=0, completed=0, expires_ts=expires_ts)

    async def list(self) -> list[RegistrationToken]:
        """All tokens, by name."""
        async with self.database.connection() as connection:
            return await list_registration_tokens(connection, now=self.clock())

    async def delete(self, token: str, *, actor: str) -> bool:
        """Remove a token for an administrator, the `actor`; False where there is none."""
        async with self.database.transaction() as tx:
            is_deleted = await delete_registration_token(tx, token)
            if is_deleted:
                await append_audit(tx, _audit(actor, "registration_token.delete", token))
        return is_deleted


def _audit(actor: str, action: str, token: str) -> AuditEntry:
    """The log names a token by the beginning of its SHA-256: whoever reads the log shall not be able to use it."""
    fingerprint = hashlib.sha256(token.encode()).hexdigest()[:_FINGERPRINT_LENGTH]
    return AuditEntry(actor=actor, action=action, object=fingerprint)
