"""Files that nobody is given, and that are not fetched. Not derived from the event log.

A row names a file, which may be here or not; where it was, all files of the same bytes are meant too.
"""

from dataclasses import dataclass
from typing import Any, Literal

from tim_server.matrix.identifiers import MediaId, ServerName, UserId
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="quarantined_media",
        owner="services.media.moderate",
        bound="what administrators have withdrawn, and malware that was fetched within a week",
        reaper="storage.quarantined_media.reap for malware; administrators for what they have withdrawn",
    ),
)

Cause = Literal["administrator", "malware"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """A file that is withdrawn. `server_name` is in lower case; `decided_by` is the administrator."""

    nid: int
    server_name: str
    media_id: MediaId
    cause: Cause
    decided_by: UserId | None
    created_ts: int


PUT_QUARANTINE = """
INSERT INTO quarantined_media (server_name, media_id, fingerprint, cause, decided_by, created_ts)
VALUES (
    lower($1), $2, (SELECT fingerprint FROM media WHERE server_name = $1 AND media_id = $2 AND size_bytes > 0),
    'administrator', $3, $4
)
ON CONFLICT (server_name, media_id) DO UPDATE
SET fingerprint = coalesce(excluded.fingerprint, quarantined_media.fingerprint), cause = 'administrator',
    decided_by = $3, created_ts = $4, expires_ts = NULL
"""


async def put_quarantine(
    tx: Connection, server_name: ServerName, media_id: MediaId, *, decided_by: UserId, now: int
) -> None:
    """Withdraw a file until an administrator releases it."""
    await tx.execute(PUT_QUARANTINE, server_name, media_id, decided_by, now)


QUARANTINE_UPLOADS = """
WITH added AS (
    INSERT INTO quarantined_media (server_name, media_id, fingerprint, cause, decided_by, created_ts)
    SELECT lower(server_name), media_id, CASE WHEN size_bytes > 0 THEN fingerprint END, 'administrator', $2, $3
    FROM media WHERE user_id = $1
    ON CONFLICT (server_name, media_id) DO NOTHING RETURNING 1
)
SELECT count(*) FROM added
"""


async def quarantine_uploads(tx: Connection, user_id: UserId, *, decided_by: UserId, now: int) -> int:
    """Withdraw all that a user has uploaded and that is still here; how many files these are."""
    return int(await tx.fetchval(QUARANTINE_UPLOADS, user_id, decided_by, now))


NOTE_MALWARE = """
INSERT INTO quarantined_media (server_name, media_id, cause, created_ts, expires_ts)
VALUES (lower($1), $2, 'malware', $3, $4) ON CONFLICT (server_name, media_id) DO NOTHING
"""


async def note_malware(
    tx: Connection, server_name: ServerName, media_id: MediaId, *, now: int, expires_ts: int
) -> None:
    """Have a file of another server not fetched again for a while."""
    await tx.execute(NOTE_MALWARE, server_name, media_id, now, expires_ts)


FIND_QUARANTINE = """
SELECT nid, server_name, media_id, cause, decided_by, created_ts FROM quarantined_media
WHERE (server_name = lower($1) AND media_id = $2)
   OR fingerprint = (SELECT fingerprint FROM media WHERE server_name = $1 AND media_id = $2)
ORDER BY nid LIMIT 1
"""


async def find_quarantine(tx: Connection, server_name: ServerName, media_id: MediaId) -> Quarantine | None:
    """Why a file is withdrawn: it, or one with the same bytes."""
    row = await tx.fetchrow(FIND_QUARANTINE, server_name, media_id)
    return None if row is None else _quarantine(row)


LIST_QUARANTINED = """
SELECT nid, server_name, media_id, cause, decided_by, created_ts
FROM quarantined_media WHERE $1::bigint IS NULL OR nid < $1 ORDER BY nid DESC LIMIT $2
"""


async def list_quarantined(tx: Connection, *, before: int | None, limit: int) -> list[Quarantine]:
    """What is withdrawn, newest first. `before` is the nid of a newer one."""
    return [_quarantine(row) for row in await tx.fetch(LIST_QUARANTINED, before, limit)]


DELETE_QUARANTINE = """
WITH released AS (
    DELETE FROM quarantined_media
    WHERE (server_name = lower($1) AND media_id = $2)
       OR fingerprint = (SELECT fingerprint FROM media WHERE server_name = $1 AND media_id = $2)
    RETURNING 1
)
SELECT EXISTS (SELECT FROM released)
"""


async def delete_quarantine(tx: Connection, server_name: ServerName, media_id: MediaId) -> bool:
    """Release a file, and with it those of the same bytes; False where it is not withdrawn."""
    return bool(await tx.fetchval(DELETE_QUARANTINE, server_name, media_id))


REAP = "DELETE FROM quarantined_media WHERE expires_ts <= (extract(epoch FROM now()) * 1000)::bigint"


async def reap(tx: Connection) -> None:
    """Let malware be fetched and scanned once more: the other server, or clamd, may have changed its mind."""
    await tx.execute(REAP)


def _quarantine(row: Any) -> Quarantine:
    return Quarantine(
        nid=row["nid"],
        server_name=row["server_name"],
        media_id=MediaId(row["media_id"]),
        cause=row["cause"],
        decided_by=None if row["decided_by"] is None else UserId(row["decided_by"]),
        created_ts=row["created_ts"],
    )
