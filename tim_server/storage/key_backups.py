"""Key backups: versions of a user's backup, and the keys of sessions in each. Not derived from the event log.

A version is named by the position of the commit that made it, so that no number ever means two backups, not even
after a restore. `etag` grows with each change of the keys. A deleted version stays as a tombstone, without `auth_data`.

Spec: https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import asyncpg

from tim_server.matrix.identifiers import UserId
from tim_server.storage.codec import Codec
from tim_server.storage.database import Connection
from tim_server.storage.table_contract import TableContract

TABLES = (
    TableContract(
        name="key_backup_versions",
        owner="services.key_backup",
        bound="100 versions and 100 tombstones a user",
        reaper="storage.key_backups.reap removes older tombstones",
    ),
    TableContract(
        name="key_backup_keys",
        owner="services.key_backup",
        bound="limits.key_backup_keys_max rows a version",
        reaper="storage.key_backups.reap, once the version is deleted",
    ),
)

VERSIONS_MAX = 100
TOMBSTONES_MAX = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupVersion:
    """A version: `auth_data` as JSON, None for one that was deleted; how many keys it holds."""

    version: int
    algorithm: str
    auth_data: bytes | None
    etag: int
    key_count: int


class BackupKey(NamedTuple):
    """The key of a session; `session_data` as JSON, or as the codec keeps it. A tuple, because a backup has many."""

    room_id: str
    session_id: str
    first_message_index: int
    forwarded_count: int
    is_verified: bool
    session_data: bytes


class BackupPart(NamedTuple):
    """The keys of a version, of one of its rooms, or of one session."""

    user_id: UserId
    version: int
    room_id: str | None = None
    session_id: str | None = None


FIND_CURRENT_VERSION = """
SELECT version, algorithm, auth_data, etag, key_count FROM key_backup_versions
WHERE user_id = $1 AND auth_data IS NOT NULL ORDER BY version DESC LIMIT 1
"""


async def find_current_version(tx: Connection, codec: Codec, user_id: UserId) -> BackupVersion | None:
    """The newest version that was not deleted."""
    return _version(await tx.fetchrow(FIND_CURRENT_VERSION, user_id), codec)


FIND_VERSION = """
SELECT version, algorithm, auth_data, etag, key_count FROM key_backup_versions WHERE user_id = $1 AND version = $2
"""


async def find_version(tx: Connection, codec: Codec, user_id: UserId, version: int) -> BackupVersion | None:
    """A version, or its tombstone."""
    return _version(await tx.fetchrow(FIND_VERSION, user_id, version), codec)


def _version(row: asyncpg.Record | None, codec: Codec) -> BackupVersion | None:
    if row is None:
        return None
    return BackupVersion(
        version=row["version"],
        algorithm=row["algorithm"],
        auth_data=None if row["auth_data"] is None else codec.decode(row["auth_data"]),
        etag=row["etag"],
        key_count=row["key_count"],
    )


ADD_VERSION = """
INSERT INTO key_backup_versions (user_id, version, algorithm, auth_data, etag)
SELECT $1, greatest($2, coalesce(max(version) + 1, 0)), $3, $4, $2 FROM key_backup_versions WHERE user_id = $1
RETURNING version
"""


async def add_version(
    tx: Connection, user_id: UserId, *, algorithm: str, stored_auth_data: bytes, position: int
) -> int:
    """Make a version, the current one from now on; its number."""
    version: int = await tx.fetchval(ADD_VERSION, user_id, position, algorithm, stored_auth_data)
    return version


COUNT_VERSIONS = "SELECT count(*) FROM key_backup_versions WHERE user_id = $1 AND auth_data IS NOT NULL"


async def count_versions(tx: Connection, user_id: UserId) -> int:
    """How many backups the user has."""
    count: int = await tx.fetchval(COUNT_VERSIONS, user_id)
    return count


SET_AUTH_DATA = """
UPDATE key_backup_versions SET auth_data = $3 WHERE user_id = $1 AND version = $2 AND auth_data IS NOT NULL
"""


async def set_auth_data(tx: Connection, user_id: UserId, version: int, stored_auth_data: bytes) -> None:
    """Replace a version's `auth_data`."""
    await tx.execute(SET_AUTH_DATA, user_id, version, stored_auth_data)


DELETE_VERSION = "UPDATE key_backup_versions SET auth_data = NULL WHERE user_id = $1 AND version = $2"


async def delete_version(tx: Connection, user_id: UserId, version: int) -> None:
    """Delete a version; `reap` removes its keys."""
    await tx.execute(DELETE_VERSION, user_id, version)


DELETE_ALL_VERSIONS = "UPDATE key_backup_versions SET auth_data = NULL WHERE user_id = $1 AND auth_data IS NOT NULL"


async def delete_all_versions(tx: Connection, user_id: UserId) -> None:
    """Delete all backups of a user."""
    await tx.execute(DELETE_ALL_VERSIONS, user_id)


PUT_KEYS = """
INSERT INTO key_backup_keys AS k (user_id, version, room_id, session_id,
                                  first_message_index, forwarded_count, is_verified, session_data)
SELECT $1, $2, room_id, session_id, first_message_index, forwarded_count, is_verified, session_data
FROM unnest($3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::boolean[], $8::bytea[])
     AS new (room_id, session_id, first_message_index, forwarded_count, is_verified, session_data)
ON CONFLICT (user_id, version, room_id, session_id)
DO UPDATE SET first_message_index = excluded.first_message_index, forwarded_count = excluded.forwarded_count,
              is_verified = excluded.is_verified, session_data = excluded.session_data
WHERE (NOT excluded.is_verified, excluded.first_message_index, excluded.forwarded_count)
    < (NOT k.is_verified, k.first_message_index, k.forwarded_count)
RETURNING xmax = 0 AS is_new
"""


async def put_keys(
    tx: Connection, codec: Codec, user_id: UserId, version: int, keys: Sequence[BackupKey]
) -> tuple[int, int]:
    """Store keys, each named once, where they are better than those that are there; how many were added, and how many
    replaced.

    "if the keys have different values for is_verified, then it will keep the key that has is_verified set to true; if
    they have the same values for is_verified, then it will keep the key with a lower first_message_index; and finally,
    if is_verified and first_message_index are equal, then it will keep the key with a lower forwarded_count."
    """
    rows = await tx.fetch(
        PUT_KEYS,
        user_id,
        version,
        [key.room_id for key in keys],
        [key.session_id for key in keys],
        [key.first_message_index for key in keys],
        [key.forwarded_count for key in keys],
        [key.is_verified for key in keys],
        [codec.encode(key.session_data) for key in keys],
    )
    added = sum(row["is_new"] for row in rows)
    return added, len(rows) - added


COUNT_CHANGES = """
UPDATE key_backup_versions SET key_count = key_count + $3, etag = greatest(etag + 1, $4)
WHERE user_id = $1 AND version = $2 RETURNING key_count, etag
"""


async def count_changes(tx: Connection, user_id: UserId, version: int, *, more: int, position: int) -> tuple[int, int]:
    """The version's keys have changed, and are `more` than before; count and etag now."""
    row = await tx.fetchrow(COUNT_CHANGES, user_id, version, more, position)
    assert row is not None
    return row["key_count"], row["etag"]


LOAD_KEYS = """
SELECT room_id, session_id, first_message_index, forwarded_count, is_verified, session_data FROM key_backup_keys
WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
ORDER BY room_id, session_id
"""


async def load_keys(tx: Connection, backup: BackupPart) -> list[BackupKey]:
    """The keys of a part of a backup, by room; their `session_data` is still as the codec keeps it."""
    return [BackupKey._make(row) for row in await tx.fetch(LOAD_KEYS, *backup)]


DELETE_KEYS = """
DELETE FROM key_backup_keys WHERE user_id = $1 AND version = $2 AND (room_id, session_id) IN (
    SELECT room_id, session_id FROM key_backup_keys
    WHERE user_id = $1 AND version = $2 AND ($3::text IS NULL OR room_id = $3) AND ($4::text IS NULL OR session_id = $4)
    LIMIT $5
) RETURNING true
"""


async def delete_keys(tx: Connection, backup: BackupPart, *, limit: int) -> int:
    """Remove at most `limit` keys of a part of a backup; how many."""
    return len(await tx.fetch(DELETE_KEYS, *backup, limit))


REAP_TOMBSTONES = """
DELETE FROM key_backup_versions AS v USING (
    SELECT user_id, version, row_number() OVER (PARTITION BY user_id ORDER BY version DESC) AS age
    FROM key_backup_versions WHERE auth_data IS NULL
) AS deleted
WHERE deleted.age > $1 AND v.user_id = deleted.user_id AND v.version = deleted.version
"""
REAP_KEYS = """
DELETE FROM key_backup_keys AS k USING key_backup_versions AS v
WHERE v.auth_data IS NULL AND k.user_id = v.user_id AND k.version = v.version
"""


async def reap(tx: Connection) -> None:
    """Remove the keys of versions that were deleted, then the oldest tombstones."""
    await tx.execute(REAP_KEYS)
    await tx.execute(REAP_TOMBSTONES, TOMBSTONES_MAX)
