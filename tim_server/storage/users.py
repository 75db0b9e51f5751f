"""Local accounts, one row each. The row is what small writes of a user lock.

A row is never removed: a user id must not be given out twice. Not derived from the event log.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import asyncpg

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="users",
        owner="services.accounts",
        bound="one row per account ever made",
        reaper="none: a user id is never given out twice",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An account. `password_hash` is None where no password leads into it, `*_ts` where that has not happened."""

    user_id: UserId
    password_hash: str | None
    created_ts: int
    is_admin: bool = False
    is_guest: bool = False
    user_type: str | None = None
    locked_ts: int | None = None
    suspended_ts: int | None = None
    deactivated_ts: int | None = None


INSERT_USER = """
INSERT INTO users (user_id, password_hash, is_admin, is_guest, user_type, created_ts) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (user_id) DO NOTHING RETURNING true
"""


async def insert_user(tx: Connection, user: User) -> bool:
    """Add an account; False where the user id is taken."""
    return bool(
        await tx.fetchval(
            INSERT_USER,
            user.user_id,
            user.password_hash,
            user.is_admin,
            user.is_guest,
            user.user_type,
            user.created_ts,
        )
    )


PROMOTE_GUEST = """
UPDATE users SET is_guest = false, password_hash = $2
WHERE user_id = $1 AND is_guest AND deactivated_ts IS NULL RETURNING true
"""


async def promote_guest(tx: Connection, user: User) -> bool:
    """Make a guest's account one of an ordinary user; False where it is none."""
    return bool(await tx.fetchval(PROMOTE_GUEST, user.user_id, user.password_hash))


FIND_USERS = """
SELECT user_id, password_hash, is_admin, is_guest, user_type, created_ts, locked_ts, suspended_ts, deactivated_ts
FROM users WHERE user_id = ANY($1::text[])
"""


async def find_user(tx: Connection, user_id: UserId) -> User | None:
    """The account with this id."""
    return await find_first_user(tx, [user_id])


async def find_first_user(tx: Connection, user_ids: Sequence[UserId]) -> User | None:
    """The first of these accounts that exists, in the order given."""
    found = {row["user_id"]: row for row in await tx.fetch(FIND_USERS, user_ids)}
    return next((_user(found[user_id]) for user_id in user_ids if user_id in found), None)


LIST_USERS = """
SELECT user_id, password_hash, is_admin, is_guest, user_type, created_ts, locked_ts, suspended_ts, deactivated_ts
FROM users WHERE user_id > $1 ORDER BY user_id LIMIT $2
"""


async def list_users(tx: Connection, *, after: str = "", limit: int) -> list[User]:
    """Up to `limit` accounts whose id sorts after `after`, in order."""
    return [_user(row) for row in await tx.fetch(LIST_USERS, after, limit)]


def _user(row: asyncpg.Record) -> User:
    return User(
        user_id=UserId(row["user_id"]),
        password_hash=row["password_hash"],
        created_ts=row["created_ts"],
        is_admin=row["is_admin"],
        is_guest=row["is_guest"],
        user_type=row["user_type"],
        locked_ts=row["locked_ts"],
        suspended_ts=row["suspended_ts"],
        deactivated_ts=row["deactivated_ts"],
    )


SET_PASSWORD_HASH = "UPDATE users SET password_hash = $2 WHERE user_id = $1 AND deactivated_ts IS NULL RETURNING true"


async def set_password_hash(tx: Connection, user_id: UserId, password_hash: str) -> bool:
    """Replace the password; False where there is no such active account."""
    return bool(await tx.fetchval(SET_PASSWORD_HASH, user_id, password_hash))


REPLACE_PASSWORD_HASH = "UPDATE users SET password_hash = $3 WHERE user_id = $1 AND password_hash = $2"


async def replace_password_hash(tx: Connection, user_id: UserId, *, old: str, new: str) -> None:
    """Replace the hash unless the password has been changed meanwhile."""
    await tx.execute(REPLACE_PASSWORD_HASH, user_id, old, new)


SET_LOCKED = "UPDATE users SET locked_ts = $2 WHERE user_id = $1 RETURNING true"


async def set_locked(tx: Connection, user_id: UserId, locked_ts: int | None) -> bool:
    """Lock the account since this time, or unlock it with None; False where there is none."""
    return bool(await tx.fetchval(SET_LOCKED, user_id, locked_ts))


SET_SUSPENDED = "UPDATE users SET suspended_ts = $2 WHERE user_id = $1 RETURNING true"


async def set_suspended(tx: Connection, user_id: UserId, suspended_ts: int | None) -> bool:
    """Suspend the account since this time, or lift that with None; False where there is none."""
    return bool(await tx.fetchval(SET_SUSPENDED, user_id, suspended_ts))


ERASED = "erased"
"""The commit log's stream of users who were erased."""

ERASE_USER = "UPDATE users SET erased_position = $2 WHERE user_id = $1 AND erased_position IS NULL"


async def erase_user(tx: Connection, user_id: UserId, position: int) -> None:
    """From this position on, newcomers are served redacted copies of the user's messages."""
    await tx.execute(ERASE_USER, user_id, position)


LOAD_ERASED_USERS = "SELECT user_id, erased_position FROM users WHERE erased_position IS NOT NULL"


async def load_erased_users(tx: Connection) -> dict[UserId, int]:
    """All users who were erased, and the clock at that time."""
    return {UserId(row["user_id"]): row["erased_position"] for row in await tx.fetch(LOAD_ERASED_USERS)}


DEACTIVATE_USER = """
UPDATE users SET deactivated_ts = $2, password_hash = NULL WHERE user_id = $1 AND deactivated_ts IS NULL RETURNING true
"""


async def deactivate_user(tx: Connection, user_id: UserId, deactivated_ts: int) -> bool:
    """Close the account for good and forget its password; False where there is no such active account."""
    return bool(await tx.fetchval(DEACTIVATE_USER, user_id, deactivated_ts))
