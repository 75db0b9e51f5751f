"""Password attempts of late, by account, so that guessing is limited across processes and addresses.

Names of accounts that do not exist are counted as well, so that being limited tells nothing. Not derived.
"""

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="login_attempts",
        owner="services.accounts.check_password",
        bound="account names tried within passwords.attempts_window_ms",
        reaper="each attempt removes expired rows",
    ),
)

REMOVE_EXPIRED = """
DELETE FROM login_attempts WHERE user_id IN (
    SELECT user_id FROM login_attempts WHERE expires_ts <= $1 LIMIT 100 FOR UPDATE SKIP LOCKED
)
"""
COUNT_ATTEMPT = """
INSERT INTO login_attempts AS a (user_id, failures, expires_ts) VALUES ($1, 1, $3)
ON CONFLICT (user_id) DO UPDATE SET
    failures = CASE WHEN a.expires_ts <= $2 THEN 1 ELSE a.failures + 1 END,
    expires_ts = CASE WHEN a.expires_ts <= $2 THEN $3 ELSE a.expires_ts END
RETURNING failures, expires_ts
"""


async def count_attempt(tx: Connection, user_id: UserId, *, now: int, window_ms: int) -> tuple[int, int]:
    """Count one attempt before its password is looked at; attempts within the window so far, and when it ends."""
    await tx.execute(REMOVE_EXPIRED, now)
    row = await tx.fetchrow(COUNT_ATTEMPT, user_id, now, now + window_ms)
    assert row is not None
    return row["failures"], row["expires_ts"]


FORGET_ATTEMPTS = "DELETE FROM login_attempts WHERE user_id = $1"


async def forget_attempts(tx: Connection, user_id: UserId) -> None:
    """The right password was given: count from nought again."""
    await tx.execute(FORGET_ATTEMPTS, user_id)
