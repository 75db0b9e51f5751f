"""Registration tokens that administrators give out, and nonces of shared-secret registration that were used.

How often a token was used is `completed` plus its consumed interactive-authentication sessions that have not been
folded into it yet; sessions that are still running hold one use each. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration
"""

from dataclasses import dataclass

import asyncpg

from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="registration_tokens",
        owner="services.accounts.registration_tokens",
        bound="tokens that administrators made",
        reaper="administrators",
    ),
    TableContract(
        name="registration_nonces",
        owner="services.accounts.shared_secret",
        bound="accounts made with the shared secret within a minute",
        reaper="each use of a nonce removes expired rows",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistrationToken:
    """A token: how many registrations it allows (None: any number), runs at this moment, and has completed."""

    token: str
    uses_allowed: int | None
    pending: int
    completed: int
    expires_ts: int | None

    def is_valid(self, now: int) -> bool:
        """Whether one more registration may begin with it."""
        if self.expires_ts is not None and self.expires_ts <= now:
            return False
        return self.uses_allowed is None or self.pending + self.completed < self.uses_allowed


INSERT_REGISTRATION_TOKEN = """
INSERT INTO registration_tokens (token, uses_allowed, expires_ts) VALUES ($1, $2, $3)
ON CONFLICT (token) DO NOTHING RETURNING true
"""


async def insert_registration_token(
    tx: Connection, token: str, *, uses_allowed: int | None, expires_ts: int | None
) -> bool:
    """Add a token; False where it exists already."""
    return bool(await tx.fetchval(INSERT_REGISTRATION_TOKEN, token, uses_allowed, expires_ts))


FIND_REGISTRATION_TOKEN = """
SELECT t.token, t.uses_allowed, t.completed + coalesce(s.consumed, 0) AS completed,
       coalesce(s.pending, 0) AS pending, t.expires_ts
FROM registration_tokens AS t
LEFT JOIN LATERAL (
    SELECT count(*) FILTER (WHERE consumed) AS consumed,
           count(*) FILTER (WHERE NOT consumed AND expires_ts > $2) AS pending
    FROM uia_sessions WHERE registration_token = t.token
) AS s ON true
WHERE t.token = $1
"""


async def find_registration_token(tx: Connection, token: str, *, now: int) -> RegistrationToken | None:
    """The token with this name, valid or not."""
    row = await tx.fetchrow(FIND_REGISTRATION_TOKEN, token, now)
    return None if row is None else _registration_token(row)


LOCK_REGISTRATION_TOKEN = "SELECT true FROM registration_tokens WHERE token = $1 FOR UPDATE"


async def lock_registration_token(tx: Connection, token: str) -> None:
    """Hold the token until the end of the transaction, so that its last use is given out once."""
    await tx.execute(LOCK_REGISTRATION_TOKEN, token)


LIST_REGISTRATION_TOKENS = """
SELECT t.token, t.uses_allowed, t.completed + coalesce(s.consumed, 0) AS completed,
       coalesce(s.pending, 0) AS pending, t.expires_ts
FROM registration_tokens AS t
LEFT JOIN (
    SELECT registration_token, count(*) FILTER (WHERE consumed) AS consumed,
           count(*) FILTER (WHERE NOT consumed AND expires_ts > $1) AS pending
    FROM uia_sessions WHERE registration_token IS NOT NULL GROUP BY registration_token
) AS s ON s.registration_token = t.token
ORDER BY t.token
"""


async def list_registration_tokens(tx: Connection, *, now: int) -> list[RegistrationToken]:
    """All tokens, by name."""
    return [_registration_token(row) for row in await tx.fetch(LIST_REGISTRATION_TOKENS, now)]


def _registration_token(row: asyncpg.Record) -> RegistrationToken:
    return RegistrationToken(
        token=row["token"],
        uses_allowed=row["uses_allowed"],
        pending=row["pending"],
        completed=row["completed"],
        expires_ts=row["expires_ts"],
    )


DELETE_REGISTRATION_TOKEN = "DELETE FROM registration_tokens WHERE token = $1 RETURNING true"


async def delete_registration_token(tx: Connection, token: str) -> bool:
    """Remove a token; False where there is none."""
    return bool(await tx.fetchval(DELETE_REGISTRATION_TOKEN, token))


REMOVE_EXPIRED_NONCES = "DELETE FROM registration_nonces WHERE expires_ts <= $1"
INSERT_NONCE = """
INSERT INTO registration_nonces (nonce, expires_ts) VALUES ($1, $2) ON CONFLICT (nonce) DO NOTHING RETURNING true
"""


async def use_nonce(tx: Connection, nonce: str, *, now: int, expires_ts: int) -> bool:
    """Mark a nonce as used; False where it was used before."""
    await tx.execute(REMOVE_EXPIRED_NONCES, now)
    return bool(await tx.fetchval(INSERT_NONCE, nonce, expires_ts))
