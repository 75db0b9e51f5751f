"""Tokens by which users prove to other services who they are, hashed. Not derived from the event log.

Spec: https://spec.matrix.org/v1.19/client-server-api/#openid
"""

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="openid_tokens",
        owner="services.accounts.openid",
        bound="what users ask for within an hour, 100 for each",
        reaper="each new token removes expired rows, and the oldest of a user with more; deactivation of the account",
    ),
)

TOKENS_PER_USER_MAX = 100

REMOVE_EXPIRED = """
DELETE FROM openid_tokens WHERE token_hash IN (
    SELECT token_hash FROM openid_tokens WHERE expires_ts <= $1 LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""
REMOVE_OLDEST = """
DELETE FROM openid_tokens WHERE token_hash IN (
    SELECT token_hash FROM openid_tokens WHERE user_id = $1 ORDER BY expires_ts DESC OFFSET $2 FOR UPDATE SKIP LOCKED
)
"""
INSERT_TOKEN = "INSERT INTO openid_tokens (token_hash, user_id, expires_ts) VALUES ($1, $2, $3)"


async def insert_openid_token(tx: Connection, token_hash: bytes, user_id: UserId, *, now: int, expires_ts: int) -> None:
    """Keep a new token."""
    await tx.execute(REMOVE_EXPIRED, now)
    await tx.execute(REMOVE_OLDEST, user_id, TOKENS_PER_USER_MAX - 1)
    await tx.execute(INSERT_TOKEN, token_hash, user_id, expires_ts)


FIND_OWNER = """
SELECT t.user_id FROM openid_tokens AS t JOIN users AS u USING (user_id)
WHERE t.token_hash = $1 AND t.expires_ts > $2 AND u.deactivated_ts IS NULL
"""


async def find_owner(tx: Connection, token_hash: bytes, *, now: int) -> UserId | None:
    """Whose token it is; None where it is not known, or no longer valid."""
    user_id: str | None = await tx.fetchval(FIND_OWNER, token_hash, now)
    return None if user_id is None else UserId(user_id)


DELETE_TOKENS = "DELETE FROM openid_tokens WHERE user_id = $1"


async def delete_openid_tokens(tx: Connection, user_id: UserId) -> None:
    """Remove all tokens of a user."""
    await tx.execute(DELETE_TOKENS, user_id)
