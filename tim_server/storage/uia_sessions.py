"""Sessions of user-interactive authentication: what a client has proven so far for one operation. Not derived.

Spec: https://spec.matrix.org/v1.19/client-server-api/#user-interactive-api-in-the-rest-api
"""

from dataclasses import dataclass

from tim_server.matrix.identifiers import UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="uia_sessions",
        owner="services.accounts.uia",
        bound="sessions begun within tokens.interactive_session_lifetime_ms",
        reaper="each new session removes expired rows and consumed ones that nobody may ask for again, and folds them "
        "into their registration token",
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class UiaSession:
    """A session of one operation, by one user (None: nobody is logged in yet). `parameters`, sealed, are what the
    operation was asked for with, where later requests may leave that out."""

    session_id: str
    operation: str
    user_id: UserId | None
    completed: tuple[str, ...]
    registration_token: str | None
    expires_ts: int
    parameters: bytes | None = None


REMOVE_ENDED = """
WITH gone AS (
    DELETE FROM uia_sessions WHERE session_id IN (
        SELECT session_id FROM uia_sessions WHERE expires_ts <= $1 OR (consumed AND made_user_id IS NULL) LIMIT 100
        FOR UPDATE SKIP LOCKED
    ) RETURNING registration_token, consumed
), used AS (
    SELECT registration_token, count(*) AS uses FROM gone
    WHERE consumed AND registration_token IS NOT NULL GROUP BY registration_token
)
UPDATE registration_tokens AS t SET completed = t.completed + used.uses FROM used
WHERE t.token = used.registration_token
"""
INSERT_SESSION = """
INSERT INTO uia_sessions (session_id, operation, user_id, completed, registration_token, expires_ts, parameters)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""


async def insert_session(tx: Connection, session: UiaSession, *, now: int) -> None:
    """Begin a session, and remove some of those that have ended."""
    await tx.execute(REMOVE_ENDED, now)
    await tx.execute(
        INSERT_SESSION,
        session.session_id,
        session.operation,
        session.user_id,
        list(session.completed),
        session.registration_token,
        session.expires_ts,
        session.parameters,
    )


FIND_SESSION = """
SELECT session_id, operation, user_id, completed, registration_token, expires_ts
FROM uia_sessions WHERE session_id = $1 AND expires_ts > $2 AND NOT consumed
"""


async def find_session(tx: Connection, session_id: str, *, now: int) -> UiaSession | None:
    """A session that runs."""
    row = await tx.fetchrow(FIND_SESSION, session_id, now)
    if row is None:
        return None
    return UiaSession(
        session_id=row["session_id"],
        operation=row["operation"],
        user_id=None if row["user_id"] is None else UserId(row["user_id"]),
        completed=tuple(row["completed"]),
        registration_token=row["registration_token"],
        expires_ts=row["expires_ts"],
    )


COMPLETE_STAGE = """
UPDATE uia_sessions SET completed = $3, registration_token = coalesce($4, registration_token)
WHERE session_id = $1 AND completed = $2 AND NOT consumed RETURNING true
"""


async def complete_stage(
    tx: Connection, session: UiaSession, stage: str, *, registration_token: str | None = None
) -> bool:
    """Add a stage to what the session has completed; False where the session has moved on meanwhile."""
    completed = list(session.completed)
    return bool(
        await tx.fetchval(COMPLETE_STAGE, session.session_id, completed, [*completed, stage], registration_token)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeAccount:
    """What came of a registration: the account, and the device of its first session unless login was inhibited."""

    user_id: UserId
    device_id: str | None


CONSUME_SESSION = """
UPDATE uia_sessions SET consumed = true, parameters = NULL, made_user_id = $3, made_device_id = $4
WHERE session_id IN (
    SELECT session_id FROM uia_sessions WHERE session_id = $1 AND expires_ts > $2 AND NOT consumed
    FOR UPDATE SKIP LOCKED
) RETURNING true
"""


async def consume_session(tx: Connection, session_id: str, *, now: int, made: MadeAccount | None = None) -> bool:
    """The operation happens in this transaction: nothing else may happen with the session. False where it has ended,
    or another request is at it; never waits."""
    user_id, device_id = (None, None) if made is None else (made.user_id, made.device_id)
    return bool(await tx.fetchval(CONSUME_SESSION, session_id, now, user_id, device_id))


FIND_EARLIER_REQUEST = """
SELECT parameters, made_user_id, made_device_id FROM uia_sessions
WHERE session_id = $1 AND operation = $2 AND expires_ts > $3
"""


async def find_earlier_request(
    tx: Connection, session_id: str, operation: str, *, now: int
) -> tuple[bytes | None, MadeAccount | None]:
    """What a session of this operation began with, and the account that came of it, as far as there are such things."""
    row = await tx.fetchrow(FIND_EARLIER_REQUEST, session_id, operation, now)
    if row is None:
        return None, None
    if row["made_user_id"] is None:
        return row["parameters"], None
    return None, MadeAccount(user_id=UserId(row["made_user_id"]), device_id=row["made_device_id"])
