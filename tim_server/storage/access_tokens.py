"""Access tokens and refresh tokens, as SHA-256 hashes. Not derived from the event log.

A refresh token and the access token issued with it are a pair (`refresh_token_id`). A pair made by refreshing names the
refresh token it came from (`predecessor`) until either of the two is first used; then the predecessor and its access
token go. So a device has two pairs at most.

Spec: https://spec.matrix.org/v1.19/client-server-api/#refreshing-access-tokens
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="access_tokens",
        owner="services.accounts",
        bound="two per device",
        reaper="logout, refresh, and login on the same device",
    ),
    TableContract(
        name="refresh_tokens",
        owner="services.accounts",
        bound="two per device",
        reaper="logout, refresh, and login on the same device",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessTokenOwner:
    """What an access token leads to. `predecessor` is set until the token, or its refresh token, is first used."""

    token_id: int
    user_id: UserId
    device_id: str
    expires_ts: int | None
    refresh_token_id: int | None
    predecessor: int | None
    last_seen_ts: int
    is_admin: bool
    is_guest: bool
    is_locked: bool
    is_suspended: bool


FIND_ACCESS_TOKEN = """
SELECT a.token_id, a.user_id, a.device_id, a.expires_ts, a.refresh_token_id, r.predecessor, d.last_seen_ts,
       u.is_admin, u.is_guest, u.locked_ts IS NOT NULL AS is_locked, u.suspended_ts IS NOT NULL AS is_suspended
FROM access_tokens AS a
JOIN users AS u ON u.user_id = a.user_id
JOIN devices AS d ON d.user_id = a.user_id AND d.device_id = a.device_id
LEFT JOIN refresh_tokens AS r ON r.token_id = a.refresh_token_id
WHERE a.token_hash = $1 AND u.deactivated_ts IS NULL
"""


async def find_access_token(tx: Connection, token_hash: bytes) -> AccessTokenOwner | None:
    """The owner of an access token, expired ones included."""
    row = await tx.fetchrow(FIND_ACCESS_TOKEN, token_hash)
    if row is None:
        return None
    return AccessTokenOwner(
        token_id=row["token_id"],
        user_id=UserId(row["user_id"]),
        device_id=row["device_id"],
        expires_ts=row["expires_ts"],
        refresh_token_id=row["refresh_token_id"],
        predecessor=row["predecessor"],
        last_seen_ts=row["last_seen_ts"],
        is_admin=row["is_admin"],
        is_guest=row["is_guest"],
        is_locked=row["is_locked"],
        is_suspended=row["is_suspended"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshTokenOwner:
    """What a refresh token leads to."""

    token_id: int
    user_id: UserId
    device_id: str
    expires_ts: int | None
    predecessor: int | None
    is_locked: bool


FIND_REFRESH_TOKEN = """
SELECT r.token_id, r.user_id, r.device_id, r.expires_ts, r.predecessor, u.locked_ts IS NOT NULL AS is_locked
FROM refresh_tokens AS r JOIN users AS u ON u.user_id = r.user_id
WHERE r.token_hash = $1 AND u.deactivated_ts IS NULL
"""


async def find_refresh_token(tx: Connection, token_hash: bytes) -> RefreshTokenOwner | None:
    """The owner of a refresh token, expired ones included."""
    row = await tx.fetchrow(FIND_REFRESH_TOKEN, token_hash)
    if row is None:
        return None
    return RefreshTokenOwner(
        token_id=row["token_id"],
        user_id=UserId(row["user_id"]),
        device_id=row["device_id"],
        expires_ts=row["expires_ts"],
        predecessor=row["predecessor"],
        is_locked=row["is_locked"],
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NewToken:
    """A token to store: its hash, and when it expires (None: never)."""

    token_hash: bytes
    expires_ts: int | None


INSERT_REFRESH_TOKEN = """
INSERT INTO refresh_tokens (token_hash, user_id, device_id, expires_ts, predecessor) VALUES ($1, $2, $3, $4, $5)
RETURNING token_id
"""
INSERT_ACCESS_TOKEN = """
INSERT INTO access_tokens (token_hash, user_id, device_id, expires_ts, refresh_token_id) VALUES ($1, $2, $3, $4, $5)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewTokens:
    """What one login or refresh issues to a device."""

    user_id: UserId
    device_id: str
    access: NewToken
    refresh: NewToken | None
    predecessor: int | None = None


async def insert_tokens(tx: Connection, tokens: NewTokens) -> None:
    """Store an access token, and the refresh token issued with it."""
    owner = (tokens.user_id, tokens.device_id)
    refresh_token_id: int | None = None
    if tokens.refresh is not None:
        refresh = tokens.refresh
        refresh_token_id = await tx.fetchval(
            INSERT_REFRESH_TOKEN, refresh.token_hash, *owner, refresh.expires_ts, tokens.predecessor
        )
    access = tokens.access
    await tx.execute(INSERT_ACCESS_TOKEN, access.token_hash, *owner, access.expires_ts, refresh_token_id)


DELETE_PAIR = """
WITH gone AS (DELETE FROM refresh_tokens WHERE token_id = $1)
DELETE FROM access_tokens WHERE refresh_token_id = $1
"""
FORGET_PREDECESSOR = "UPDATE refresh_tokens SET predecessor = NULL WHERE token_id = $1 AND predecessor = $2"


async def revoke_predecessor(tx: Connection, refresh_token_id: int, predecessor: int) -> None:
    """A pair is used for the first time: the refresh token that it came from, and that one's access token, go."""
    await tx.execute(FORGET_PREDECESSOR, refresh_token_id, predecessor)
    await tx.execute(DELETE_PAIR, predecessor)


DELETE_SUCCESSORS = """
WITH gone AS (DELETE FROM refresh_tokens WHERE predecessor = $1 RETURNING token_id)
DELETE FROM access_tokens WHERE refresh_token_id IN (SELECT token_id FROM gone)
"""


async def revoke_successors(tx: Connection, refresh_token_id: int) -> None:
    """A refresh token is used again, so the client never got the pair that it was answered with: that pair goes."""
    await tx.execute(DELETE_SUCCESSORS, refresh_token_id)


DELETE_TOKENS_OF_DEVICES = """
WITH gone AS (DELETE FROM refresh_tokens WHERE user_id = $1 AND device_id = ANY($2::text[]))
DELETE FROM access_tokens WHERE user_id = $1 AND device_id = ANY($2::text[])
"""


async def revoke_devices(tx: Connection, user_id: UserId, device_ids: Sequence[str]) -> None:
    """Remove all tokens of these devices."""
    await tx.execute(DELETE_TOKENS_OF_DEVICES, user_id, device_ids)
